//! Tests that every port passes.

mod conformance;
