//! The reasons for which figures are missing.

/// The reason for which a figure could not be measured.
pub type Reason = String;

/// Converts an error to a reason.
pub fn why(error: impl std::fmt::Display) -> Reason {
    error.to_string()
}
