//! Tests that every backend passes.

mod conformance;
