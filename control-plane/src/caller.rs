//! Who calls the control plane: an organization, or an operator in [`PLATFORM`].

use platform::{ctx::Ctx, problem::Problem};

use crate::PLATFORM;

platform::problem_codes! {
    /// Only operators may do this.
    OPERATOR_ONLY = 403 "operator_only";
    /// Something else of the same kind has this `external_id`.
    EXTERNAL_ID_TAKEN = 409 "external_id_taken";
}

/// Whether an operator calls.
#[must_use]
pub fn is_operator(ctx: &Ctx) -> bool {
    ctx.scope == PLATFORM
}

/// Lets operators pass.
///
/// # Errors
/// [`OPERATOR_ONLY`].
pub fn operator(ctx: &Ctx) -> Result<(), Problem> {
    if is_operator(ctx) { Ok(()) } else { Err(Problem::new(&OPERATOR_ONLY)) }
}
