//! What an environment needs next; pure.

use chrono::{DateTime, Utc};
use tenants::{
    contract::{EnvironmentIntent, EnvironmentObserved},
    environment::{Condition, Desired, EnvironmentState, Phase, Status, observe},
    tenant::State,
};

use crate::{cells::Cell, clients::Told, environments::Environment, operations::Reason, tenants::Tenant};

/// Whether the cell of an environment has it.
const REPORTED: &str = "Reported";
/// Whether the suspension of its tenant has suspended an environment.
pub const TENANT_SUSPENDED: &str = "TenantSuspended";

/// The next thing to do for an environment; one is done at a time, and looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The cell knows of later wishes than this database, which was restored from a backup: what is wanted here is wanted
    /// anew, in the generation after them.
    Adopt(i64),
    /// Say that its cell is being found, or that it is being removed.
    Enter(EnvironmentState),
    /// Find it a cell.
    Place,
    /// Tell the cell, and wait for its report.
    Publish,
    /// The cell has brought about what is wanted.
    Arrive(EnvironmentState),
    /// The cell cannot bring it about.
    Fail,
    /// Say that its cell has lost it. It is not made anew: books that are empty are worse than none.
    Miss,
    /// The cell keeps what is left of it as the law says: nothing runs any more.
    Keep,
    /// The cell has nothing of it any more: free its place.
    Release,
    /// Nothing: it is as it shall be, or gone.
    Nothing,
}

/// What an environment needs next, given what its cell has reported of it, and what that says the cell was told of clients.
#[must_use]
pub fn next(environment: &Environment, observed: Option<&EnvironmentObserved>, told: Told) -> Next {
    use EnvironmentState::{Pending, Provisioning, Ready, Removed, Removing, Suspended};
    let current = observed.filter(|seen| i64::try_from(seen.generation) == Ok(environment.generation));
    let phase = current.map(|seen| seen.phase);
    match (environment.desired, environment.state) {
        (_, Removed) | (Desired::Unknown, _) => Next::Nothing,
        _ if observed.is_some_and(|seen| is_ahead(environment, seen, told)) => {
            let known = observed.and_then(|seen| i64::try_from(seen.generation).ok());
            Next::Adopt(known.unwrap_or_default().max(environment.generation).saturating_add(1))
        }
        (Desired::Removed, Removing) if environment.cell.is_none() => Next::Release,
        (Desired::Removed, Removing) => match phase {
            Some(Phase::Removed | Phase::Absent) => Next::Release,
            Some(Phase::Removing) if current.is_some_and(|seen| seen.hold_until.is_some()) => {
                if is_kept(environment) { Next::Nothing } else { Next::Keep }
            }
            _ => Next::Publish,
        },
        (Desired::Removed, _) => Next::Enter(Removing),
        // A removal is final.
        (_, Removing) => Next::Nothing,
        (_, Pending) => Next::Enter(Provisioning),
        (_, Provisioning) if environment.cell.is_none() => Next::Place,
        (_, Provisioning | Ready | Suspended) if is_missing(environment, observed.is_some()) => Next::Miss,
        (desired, Provisioning | Ready | Suspended) => {
            let (arrived, state) = match desired {
                Desired::Suspended => (Phase::Suspended, Suspended),
                _ => (Phase::Ready, Ready),
            };
            let settled = environment.observed_generation == environment.generation;
            match phase {
                Some(phase) if phase == arrived && !(settled && environment.state == state) => {
                    Next::Arrive(state)
                }
                Some(phase) if phase == arrived => Next::Nothing,
                Some(Phase::Failed) => Next::Fail,
                _ => Next::Publish,
            }
        }
    }
}

/// Whether nothing of a removed environment runs, and the rest is only kept.
#[must_use]
pub fn is_kept(environment: &Environment) -> bool {
    environment.state == EnvironmentState::Removing
        && environment.observed_generation == environment.generation
}

/// Whether an environment is suspended because its tenant is.
#[must_use]
pub fn follows_tenant(environment: &Environment) -> bool {
    let follows = |one: &Condition| one.r#type == TENANT_SUSPENDED && one.status == Status::True;
    environment.desired == Desired::Suspended && environment.conditions.iter().any(follows)
}

/// A tenant as its environments show it: whether all of them have come to what it is, and which are not ready.
#[must_use]
pub fn observed(tenant: &Tenant, environments: &[Environment], now: DateTime<Utc>) -> Tenant {
    let mut after = tenant.clone();
    if environments.iter().all(|one| has_come_to(one, tenant.state)) {
        after.observed_generation = tenant.generation;
    }
    let not_ready = environments.iter().filter_map(|one| {
        let is_missing = one.state != EnvironmentState::Removing && is_called_missing(one);
        let state = if is_missing { "missing" } else { one.state.as_str() };
        (state != EnvironmentState::Ready.as_str()).then(|| format!("{} is {state}", one.id))
    });
    let not_ready: Vec<String> = not_ready.collect();
    let (status, reason, detail) = match (environments, &not_ready[..]) {
        ([], _) => (Status::False, "NoEnvironments", None),
        (_, []) => (Status::True, "Ready", None),
        _ => (Status::False, "NotReady", Some(not_ready.join(", "))),
    };
    observe(&mut after.conditions, condition("EnvironmentsReady", status, reason, detail, now));
    after
}

/// Whether an environment is what is wanted of it, and that is what its tenant's state asks for.
fn has_come_to(environment: &Environment, of: State) -> bool {
    use EnvironmentState::{Ready, Removing, Suspended};
    let is_asked_for = match of {
        State::Suspended => environment.desired != Desired::Present,
        State::Offboarding | State::Archived | State::Erased => environment.desired == Desired::Removed,
        _ => !follows_tenant(environment),
    };
    let is_there = match (environment.desired, environment.state) {
        (Desired::Present, Ready) | (Desired::Suspended, Suspended) => !is_called_missing(environment),
        (Desired::Removed, Removing) => true,
        _ => false,
    };
    is_asked_for && is_there && environment.observed_generation == environment.generation
}

/// Whether a cell was told what this database does not know of: a later generation, the same one with another wish, or
/// credentials of a client that are later than ours.
fn is_ahead(environment: &Environment, seen: &EnvironmentObserved, told: Told) -> bool {
    let Ok(generation) = i64::try_from(seen.generation) else { return false };
    let other = seen.intent.as_ref().is_some_and(|intent| {
        intent.phase != environment.desired
            || intent.profile_version != environment.profile_version
            || intent.clock_offset_ms != environment.clock_offset_ms
    });
    told == Told::Later
        || generation > environment.generation
        || (generation == environment.generation && (other || told == Told::Otherwise))
}

/// An environment that only its cell knows, of which the cell was told this in the generation `known`. It is wanted anew,
/// in a generation that the cell does not know.
#[must_use]
pub fn recovered(intent: &EnvironmentIntent, cell: &Cell, known: i64, now: DateTime<Utc>) -> Environment {
    let state = match intent.phase {
        Desired::Removed => EnvironmentState::Removing,
        _ => EnvironmentState::Provisioning,
    };
    let detail = Some(format!("the cell knew generation {known}, and this database nothing"));
    Environment {
        id: intent.id,
        organization: intent.organization,
        tenant: intent.tenant,
        mode: intent.mode,
        jurisdiction: intent.jurisdiction.clone(),
        region: cell.region.clone(),
        profile_version: intent.profile_version.clone(),
        clock_offset_ms: intent.clock_offset_ms,
        desired: intent.phase,
        state,
        cell: Some(cell.id),
        generation: known.saturating_add(1),
        observed_generation: 0,
        conditions: vec![condition("Recovered", Status::True, "Restored", detail, now)],
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// Whether the cell of an environment has had it once, and does not report it any more.
const fn is_missing(environment: &Environment, reported: bool) -> bool {
    !reported && environment.observed_generation > 0 && !environment.state.is_final()
}

/// Notes that the cell of an environment that was there does not have it any more, or has it again.
pub fn note_report(environment: &mut Environment, reported: bool, now: DateTime<Utc>) {
    if is_missing(environment, reported) {
        let detail =
            format!("its cell had generation {}; it is not made anew", environment.observed_generation);
        let gone = condition(REPORTED, Status::False, "Missing", Some(detail), now);
        observe(&mut environment.conditions, gone);
    } else if reported && is_called_missing(environment) {
        observe(&mut environment.conditions, condition(REPORTED, Status::True, "Found", None, now));
    }
}

/// Whether it is on record that the cell of an environment does not have it any more.
fn is_called_missing(environment: &Environment) -> bool {
    environment.conditions.iter().any(|one| one.r#type == REPORTED && one.status == Status::False)
}

/// Why nothing can be done for an environment that its cell has lost.
#[must_use]
pub fn missing() -> Reason {
    let detail = "the cell does not have the environment any more, and it is not made anew".to_owned();
    Reason { code: "environment_missing".to_owned(), detail: Some(detail) }
}

/// A condition of ours as it is seen now.
#[must_use]
pub fn condition(
    name: &str,
    status: Status,
    reason: &str,
    detail: Option<String>,
    at: DateTime<Utc>,
) -> Condition {
    Condition { r#type: name.to_owned(), status, reason: reason.to_owned(), detail, since_at: at }
}

/// Why a cell says that it cannot: its first condition that does not hold.
#[must_use]
pub fn failure(observed: &EnvironmentObserved) -> (String, Option<String>) {
    let failed = observed.conditions.iter().find(|condition| condition.status == Status::False);
    failed.map_or_else(
        || ("cell_failed".to_owned(), None),
        |condition| (condition.reason.clone(), condition.detail.clone()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenants::{
        environment::Mode,
        id::{CellId, EnvironmentId, OrganizationId, TenantId},
    };
    use uuid::Uuid;

    fn environment(desired: Desired, state: EnvironmentState, placed: bool) -> Environment {
        let is_being_made = matches!(state, EnvironmentState::Pending | EnvironmentState::Provisioning);
        Environment {
            id: EnvironmentId::from_uuid(Uuid::from_u128(1)),
            organization: OrganizationId::from_uuid(Uuid::from_u128(2)),
            tenant: TenantId::from_uuid(Uuid::from_u128(3)),
            mode: Mode::Sandbox,
            jurisdiction: "mx-cnbv".parse().unwrap(),
            region: "mx-1".parse().unwrap(),
            profile_version: "2026.11".to_owned(),
            clock_offset_ms: 0,
            desired,
            state,
            cell: placed.then(|| CellId::from_uuid(Uuid::from_u128(4))),
            generation: 2,
            observed_generation: i64::from(!is_being_made),
            conditions: Vec::new(),
            version: 1,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    fn seen(generation: u64, phase: Phase) -> EnvironmentObserved {
        let environment = environment(Desired::Present, EnvironmentState::Ready, true);
        EnvironmentObserved {
            id: environment.id,
            organization: environment.organization,
            tenant: environment.tenant,
            generation,
            phase,
            step: None,
            conditions: Vec::new(),
            profile_version: environment.profile_version,
            clients: Vec::new(),
            schema: String::new(),
            exports: Vec::new(),
            hold_until: None,
            intent: None,
        }
    }

    #[test]
    fn the_first_thing_that_is_missing_comes_next() {
        use Desired::{Present, Removed as Gone, Suspended as Still};
        use EnvironmentState::{Pending, Provisioning, Ready, Removed, Removing, Suspended};
        for (desired, state, placed, observed, expected) in [
            (Present, Pending, false, None, Next::Enter(Provisioning)),
            (Present, Provisioning, false, None, Next::Place),
            (Present, Provisioning, true, None, Next::Publish),
            (Present, Provisioning, true, Some(seen(2, Phase::Converging)), Next::Publish),
            (Present, Provisioning, true, Some(seen(1, Phase::Ready)), Next::Publish),
            (Present, Provisioning, true, Some(seen(2, Phase::Ready)), Next::Arrive(Ready)),
            (Present, Provisioning, true, Some(seen(2, Phase::Failed)), Next::Fail),
            (Still, Ready, true, Some(seen(1, Phase::Ready)), Next::Publish),
            (Still, Ready, true, Some(seen(2, Phase::Ready)), Next::Publish),
            (Still, Ready, true, Some(seen(2, Phase::Suspended)), Next::Arrive(Suspended)),
            (Present, Suspended, true, Some(seen(2, Phase::Ready)), Next::Arrive(Ready)),
            (Present, Ready, true, Some(seen(2, Phase::Ready)), Next::Arrive(Ready)),
            (Present, Ready, true, Some(seen(5, Phase::Suspended)), Next::Adopt(6)),
            (Gone, Removing, true, Some(seen(3, Phase::Ready)), Next::Adopt(4)),
            (Gone, Removed, true, Some(seen(3, Phase::Ready)), Next::Nothing),
            (Gone, Pending, false, None, Next::Enter(Removing)),
            (Gone, Provisioning, true, Some(seen(1, Phase::Ready)), Next::Enter(Removing)),
            (Gone, Removing, false, None, Next::Release),
            (Gone, Removing, true, Some(seen(2, Phase::Removing)), Next::Publish),
            (Gone, Removing, true, Some(seen(1, Phase::Removed)), Next::Publish),
            (Gone, Removing, true, Some(seen(2, Phase::Removed)), Next::Release),
            (Gone, Removed, true, None, Next::Nothing),
            (Present, Removing, true, None, Next::Nothing),
        ] {
            let environment = environment(desired, state, placed);
            let name = format!("{desired} {state} placed {placed} {observed:?}");
            assert_eq!(next(&environment, observed.as_ref(), Told::Same), expected, "{name}");
        }
        let held = EnvironmentObserved { hold_until: Some(DateTime::UNIX_EPOCH), ..seen(2, Phase::Removing) };
        let mut removing = environment(Gone, Removing, true);
        assert_eq!(next(&removing, Some(&held), Told::Same), Next::Keep);
        removing.observed_generation = 2;
        assert_eq!(next(&removing, Some(&held), Told::Same), Next::Nothing, "kept, and said so");
        assert_eq!(
            next(&removing, Some(&seen(2, Phase::Removed)), Told::Same),
            Next::Release,
            "the hold is over"
        );
        let mut other = seen(2, Phase::Suspended);
        let intent = tenants::contract::EnvironmentIntent {
            id: other.id,
            organization: other.organization,
            tenant: other.tenant,
            tenant_name: String::new(),
            mode: Mode::Sandbox,
            jurisdiction: "mx-cnbv".parse().unwrap(),
            profile_version: other.profile_version.clone(),
            phase: Still,
            hold_until: None,
            clock_offset_ms: 0,
            clients: Vec::new(),
            operation: None,
        };
        other.intent = Some(Box::new(intent));
        assert_eq!(
            next(&environment(Still, Ready, true), Some(&other), Told::Same),
            Next::Arrive(Suspended),
            "our wish"
        );
        assert_eq!(
            next(&environment(Present, Ready, true), Some(&other), Told::Same),
            Next::Adopt(3),
            "another wish"
        );
        let ahead = Environment { clock_offset_ms: 5, ..environment(Still, Ready, true) };
        assert_eq!(next(&ahead, Some(&other), Told::Same), Next::Adopt(3), "another clock");
        let mut settled = environment(Present, Ready, true);
        settled.observed_generation = 2;
        assert_eq!(next(&settled, Some(&seen(2, Phase::Ready)), Told::Same), Next::Nothing);
        let told_others = next(&settled, Some(&seen(2, Phase::Ready)), Told::Otherwise);
        assert_eq!(told_others, Next::Adopt(3), "other clients");
        assert_eq!(next(&settled, Some(&seen(1, Phase::Ready)), Told::Otherwise), Next::Publish, "of before");
        // Its cell has lost it: whatever is wanted of it now, it is not made anew.
        let mut lost = settled;
        for generation in [2, 3, 9] {
            lost.generation = generation;
            for (desired, state) in
                [(Present, Ready), (Still, Ready), (Still, Suspended), (Present, Suspended)]
            {
                (lost.desired, lost.state) = (desired, state);
                assert_eq!(next(&lost, None, Told::Same), Next::Miss, "{desired} {state} {generation}");
            }
        }
        (lost.desired, lost.state) = (Gone, Ready);
        assert_eq!(next(&lost, None, Told::Same), Next::Enter(Removing), "but it can go");
        lost.state = Removing;
        assert_eq!(next(&lost, None, Told::Same), Next::Publish);
    }
}
