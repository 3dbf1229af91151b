//! The calls of the control plane. A test holds them against its document.

mod cells;
mod clients;
mod documents;
mod environments;
mod shared;
mod tenants;

use ::tenants::{
    environment::Mode,
    id::{CellId, ClientId, DocumentId, EnvironmentId, OperationId, OrganizationId, ResidencyId, TenantId},
    region::RegionCode,
};

pub use self::tenants::*;
pub use cells::*;
pub use clients::*;
pub use documents::*;
pub use environments::*;
pub use shared::*;

use crate::call::{Page, Segment, operations};

operations! {
    /// Whether the process lives.
    probe_live() -> String, Plain = GET "/livez";
    /// Its metrics, as Prometheus reads them.
    probe_metrics() -> String, Plain = GET "/metrics";
    /// Whether it can serve.
    probe_ready() -> Readiness, Plain = GET "/readyz";
    /// The problems there are, as a page for people.
    problem_list() -> String, Plain = GET "/problems";
    /// One problem, as a page for people.
    problem_read(code: Segment) -> String, Plain = GET "/problems/{code}";

    /// Declares an organization; for operators.
    organization_create(new: &OrganizationNew) -> Organization, Planned = POST "/v1/organizations" .json(new);
    /// Lists organizations; for operators.
    organization_list(which: &OrganizationsWhich) -> Page<Organization>, Plain
        = GET "/v1/organizations" .query(which);
    /// Reads an organization.
    organization_get(id: OrganizationId) -> Organization, Plain = GET "/v1/organizations/{id}";

    /// Lists regions.
    region_list() -> Page<Region>, Plain = GET "/v1/regions";
    /// Declares a region, or changes its name, if a version is named only if it is still that; for operators.
    region_put(code: &RegionCode, version: Option<i64>, region: &RegionPut) -> Region, Planned
        = PUT "/v1/regions/{code}" .may_match(version) .json(region);

    /// Makes a tenant, as a draft.
    tenant_create(new: &TenantNew) -> Tenant, Planned = POST "/v1/tenants" .json(new);
    /// Lists tenants.
    tenant_list(which: &TenantsWhich) -> Page<Tenant>, Plain = GET "/v1/tenants" .query(which);
    /// Reads a tenant.
    tenant_get(id: TenantId) -> Tenant, Plain = GET "/v1/tenants/{id}";
    /// Changes the tenant if this is still its version.
    tenant_update(id: TenantId, version: i64, change: &TenantChange) -> Tenant, Planned
        = PATCH "/v1/tenants/{id}" .if_match(version) .json(change);
    /// Has a draft looked at.
    tenant_verify(id: TenantId, why: &TenantStep) -> Tenant, Planned
        = POST "/v1/tenants/{id}/verifications" .json(why);
    /// Approves a tenant; for operators.
    tenant_approve(id: TenantId, why: &TenantStep) -> Tenant, Planned = POST "/v1/tenants/{id}/approvals" .json(why);
    /// Turns a tenant down, for ever; for operators.
    tenant_reject(id: TenantId, why: &TenantStep) -> Tenant, Planned = POST "/v1/tenants/{id}/rejections" .json(why);
    /// Restricts a tenant; for operators.
    tenant_restrict(id: TenantId, why: &TenantStep) -> Tenant, Planned
        = POST "/v1/tenants/{id}/restrictions" .json(why);
    /// Suspends a tenant; for operators.
    tenant_suspend(id: TenantId, why: &TenantStep) -> Tenant, Planned
        = POST "/v1/tenants/{id}/suspensions" .json(why);
    /// Ends a suspension or a restriction; for operators.
    tenant_resume(id: TenantId, why: &TenantStep) -> Tenant, Planned
        = POST "/v1/tenants/{id}/resumptions" .json(why);
    /// Ends a tenant. There is no way back.
    tenant_offboard(id: TenantId, why: &TenantStep) -> Tenant, Planned
        = POST "/v1/tenants/{id}/offboardings" .json(why);
    /// Lists the moves of a tenant's state.
    tenant_move_list(id: TenantId) -> Page<TenantMove>, Plain = GET "/v1/tenants/{id}/moves";

    /// Asks whether a tenant's data may be in a region.
    residency_check(id: TenantId, region: &RegionCode, mode: Mode) -> ResidencyCheck, Plain
        = GET "/v1/tenants/{id}/residency" .and("region", region) .and("mode", mode);
    /// Puts on record that a condition of residency is met.
    residency_record_create(id: TenantId, record: &ResidencyRecordNew) -> ResidencyRecord, Planned
        = POST "/v1/tenants/{id}/residency-records" .json(record);
    /// Lists what is on record.
    residency_record_list(id: TenantId) -> Page<ResidencyRecord>, Plain = GET "/v1/tenants/{id}/residency-records";
    /// Takes a record back.
    residency_record_withdraw(id: TenantId, record_id: ResidencyId) -> ResidencyRecord, Planned
        = POST "/v1/tenants/{id}/residency-records/{record_id}/withdrawals";

    /// Records a document of a tenant; the answer says how to put it.
    document_create(id: TenantId, new: &DocumentNew) -> Document, Plain = POST "/v1/tenants/{id}/documents" .json(new);
    /// Lists the documents of a tenant.
    document_list(id: TenantId) -> Page<Document>, Plain = GET "/v1/tenants/{id}/documents";
    /// Reads what is known of a document.
    document_get(id: DocumentId) -> Document, Plain = GET "/v1/documents/{id}";
    /// Asks for a link to get a document.
    document_link(id: DocumentId) -> DocumentLink, Plain = POST "/v1/documents/{id}/links";

    /// Declares an environment; the operation makes it.
    environment_create(id: TenantId, new: &EnvironmentNew) -> Operation, Planned
        = POST "/v1/tenants/{id}/environments" .json(new);
    /// Lists environments.
    environment_list(which: &EnvironmentsWhich) -> Page<Environment>, Plain = GET "/v1/environments" .query(which);
    /// Reads an environment.
    environment_get(id: EnvironmentId) -> Environment, Plain = GET "/v1/environments/{id}";
    /// Changes the environment if this is still its version.
    environment_update(id: EnvironmentId, version: i64, change: &EnvironmentChange) -> Operation, Planned
        = PATCH "/v1/environments/{id}" .if_match(version) .json(change);
    /// Lets an environment answer nobody.
    environment_suspend(id: EnvironmentId) -> Operation, Planned = POST "/v1/environments/{id}/suspensions";
    /// Lets a suspended environment answer again.
    environment_resume(id: EnvironmentId) -> Operation, Planned = POST "/v1/environments/{id}/resumptions";
    /// Removes an environment from its cell.
    environment_remove(id: EnvironmentId) -> Operation, Planned = POST "/v1/environments/{id}/removals";

    /// Makes a client of an environment.
    environment_client_create(id: EnvironmentId, new: &ClientNew) -> OauthClient, Planned
        = POST "/v1/environments/{id}/clients" .json(new);
    /// Makes a client of an organization itself.
    organization_client_create(id: OrganizationId, new: &ClientNew) -> OauthClient, Planned
        = POST "/v1/organizations/{id}/clients" .json(new);
    /// Lists clients.
    client_list(which: &ClientsWhich) -> Page<OauthClient>, Plain = GET "/v1/clients" .query(which);
    /// Reads a client.
    client_get(id: ClientId) -> OauthClient, Plain = GET "/v1/clients/{id}";
    /// Gives a client other credentials if this is still its version.
    client_rotate(id: ClientId, version: i64, rotation: &ClientRotation) -> OauthClient, Planned
        = POST "/v1/clients/{id}/rotations" .if_match(version) .json(rotation);
    /// Changes a client's name, or what it may do, if this is still its version.
    client_change(id: ClientId, version: i64, change: &ClientChange) -> OauthClient, Planned
        = PATCH "/v1/clients/{id}" .if_match(version) .json(change);
    /// Revokes a client, for ever.
    client_revoke(id: ClientId) -> OauthClient, Planned = POST "/v1/clients/{id}/revocations";

    /// Lists operations.
    operation_list(which: &OperationsWhich) -> Page<Operation>, Plain = GET "/v1/operations" .query(which);
    /// Reads an operation and its steps.
    operation_get(id: OperationId) -> OperationWithSteps, Plain = GET "/v1/operations/{id}";
    /// Asks to cancel an operation.
    operation_cancel(id: OperationId) -> Operation, Plain = POST "/v1/operations/{id}/cancellations";
    /// The events of an operation as text; [`Client::follow`](crate::Client::follow) reads them.
    operation_events(id: OperationId) -> String, Plain = GET "/v1/operations/{id}/events";

    /// Declares a cell; for operators.
    cell_create(new: &CellNew) -> Cell, Planned = POST "/v1/cells" .json(new);
    /// Lists cells; for operators.
    cell_list(which: &CellsWhich) -> Page<Cell>, Plain = GET "/v1/cells" .query(which);
    /// Reads a cell; for operators.
    cell_get(id: CellId) -> Cell, Plain = GET "/v1/cells/{id}";
    /// Changes the cell if this is still its version; for operators.
    cell_update(id: CellId, version: i64, change: &CellChange) -> Cell, Planned
        = PATCH "/v1/cells/{id}" .if_match(version) .json(change);
    /// Makes a join token for a cell; for operators. Its text is shown once: a call that was answered before has none.
    cell_join_token_create(id: CellId, new: &JoinTokenNew) -> JoinToken, Plain
        = POST "/v1/cells/{id}/join-tokens" .json(new);
    /// Puts on record that a cell was certified; for operators.
    cell_attestation_put(id: CellId, kind: Segment, attestation: &CellAttestationPut) -> CellAttestation, Planned
        = PUT "/v1/cells/{id}/attestations/{kind}" .json(attestation);
    /// Lists what a cell was certified for, also what has ended; for operators.
    cell_attestation_list(id: CellId) -> Page<CellAttestation>, Plain = GET "/v1/cells/{id}/attestations";
    /// Places nothing more in a cell; for operators.
    cell_drain(id: CellId) -> Cell, Planned = POST "/v1/cells/{id}/drains";
    /// Ends a drain; for operators.
    cell_resume(id: CellId) -> Cell, Planned = POST "/v1/cells/{id}/resumptions";
    /// Retires an empty cell, for ever; for operators.
    cell_retire(id: CellId) -> Cell, Planned = POST "/v1/cells/{id}/retirements";
}
