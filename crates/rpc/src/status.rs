//! Refusals as gRPC statuses with a reason that programs can match on.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A status with an `ErrorInfo` whose reason is stable, `UPPER_SNAKE`, and whose
/// domain is `shaddock`.
#[must_use]
pub fn refusal(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, "shaddock", HashMap::new());
    Status::with_error_details(code, message, details)
}
