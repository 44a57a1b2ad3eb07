//! Tests that every port passes.

mod conformance;
pub(crate) mod sites;
