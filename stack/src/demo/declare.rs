//! Tenants as `tenants/examples/` declares them, led by an operator to an environment each that is ready.
//!
//! What is there is found by the ids of the declarations and gone on with from where it is.

use std::time::Duration;

use client::{
    Client, Event,
    control::{
        self, Environment, EnvironmentNew, EnvironmentsWhich, Operation, OperationState, OperationsWhich,
        OrganizationNew, OrganizationsWhich, ResidencyRecordNew, Tenant, TenantNew, TenantState, TenantStep,
        TenantsWhich,
    },
};
use futures::TryStreamExt;
use platform::{ctx::Clock, hash};
use tenants::{
    environment::{EnvironmentState, Mode},
    example::{self, Declaration},
    id::{CellId, EnvironmentId, TenantId},
};

use super::{
    DemoError,
    progress::{Progress, Steps},
};
use crate::transport::Http;

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a tenant may take to be active once its environment is ready.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);

/// A tenant whose environment is ready.
#[derive(Debug, Clone)]
pub struct Declared {
    pub tenant: TenantId,
    pub environment: EnvironmentId,
    pub cell: CellId,
}

/// Who declares one tenant.
struct Desk<'a> {
    client: &'a Client<Http>,
    declaration: &'a Declaration,
    /// What was declared, word by word: the document of whatever is put on record.
    text: &'a str,
    steps: Steps,
}

/// Leads the tenant of a declaration to an environment that is ready.
pub async fn declare(client: &Client<Http>, text: &str, progress: &Progress) -> Result<Declared, DemoError> {
    let declaration = Declaration::parse(text).map_err(|error| DemoError::Declaration(error.to_string()))?;
    let steps = progress.steps(&declaration.tenant.name);
    let desk = Desk { client, declaration: &declaration, text, steps };
    let tenant = desk.approved().await?;
    let wanted = declaration.environments.iter().find(|one| one.mode == Mode::Sandbox);
    let wanted = wanted.ok_or_else(|| DemoError::Declaration("it has no sandbox".to_owned()))?;
    let environment = desk.ready(tenant, wanted).await?;
    let tenant = desk.active(tenant).await?;
    desk.steps.done(&format!("{}, {} is ready in {}", tenant.state, environment.id, environment.region));
    let cell = environment.cell_id.ok_or(DemoError::Elsewhere(environment.id))?;
    Ok(Declared { tenant: tenant.id, environment: environment.id, cell })
}

impl Desk<'_> {
    /// The tenant, which may have environments.
    async fn approved(&self) -> Result<TenantId, DemoError> {
        let example::Organization { external_id, name, country } = &self.declaration.organization;
        let which = OrganizationsWhich { external_id: Some(external_id.clone()) };
        let organization = match self.client.list(control::organization_list(&which)).await?.pop() {
            Some(organization) => organization.id,
            None => {
                let new = OrganizationNew {
                    external_id: Some(external_id.clone()),
                    name: name.clone(),
                    country: *country,
                };
                self.client.read(control::organization_create(&new)).await?.id
            }
        };
        let example::Tenant { external_id, name, jurisdiction, licence } = &self.declaration.tenant;
        let (external_id, organization_id) = (Some(external_id.clone()), Some(organization));
        let which = TenantsWhich { organization_id, external_id: external_id.clone(), state: None };
        let mut tenant = match self.client.list(control::tenant_list(&which)).await?.pop() {
            Some(tenant) => tenant,
            None => {
                let (name, jurisdiction, licence) = (name.clone(), jurisdiction.clone(), licence.clone());
                let new = TenantNew { organization_id, external_id, name, jurisdiction, licence };
                self.client.read(control::tenant_create(&new)).await?
            }
        };
        let why = |code: &str| TenantStep::new(code, Some("The demo's operator says so"));
        if tenant.state == TenantState::Draft {
            self.steps.at("verifying");
            tenant = self.client.read(control::tenant_verify(tenant.id, &why("declared"))).await?;
        }
        if tenant.state == TenantState::Verifying {
            self.steps.at("approving");
            tenant = self.client.read(control::tenant_approve(tenant.id, &why("licence_seen"))).await?;
        }
        Ok(tenant.id)
    }

    /// Its environment, when the cell has made it.
    async fn ready(&self, tenant: TenantId, wanted: &example::Environment) -> Result<Environment, DemoError> {
        let which = EnvironmentsWhich { tenant_id: Some(tenant), ..EnvironmentsWhich::default() };
        let there = self.client.list(control::environment_list(&which)).await?;
        let there = there.into_iter().find(|one| {
            one.mode == wanted.mode
                && one.region == wanted.region
                && !matches!(one.state, EnvironmentState::Removing | EnvironmentState::Removed)
        });
        let id = match there {
            Some(environment) if environment.state == EnvironmentState::Ready => return Ok(environment),
            Some(environment) => {
                let which =
                    OperationsWhich { subject_id: Some(environment.id.to_string()), ..Default::default() };
                let operations = self.client.list(control::operation_list(&which)).await?;
                if let Some(last) = operations.last() {
                    self.follow(last).await?;
                }
                environment.id
            }
            None => {
                self.record(tenant, wanted).await?;
                let new = EnvironmentNew {
                    mode: wanted.mode,
                    region: wanted.region.clone(),
                    profile_version: None,
                    clock_offset_ms: None,
                };
                let operation = self.client.read(control::environment_create(tenant, &new)).await?;
                self.follow(&operation).await?;
                operation.subject_id.parse().map_err(|_| DemoError::Operation(Box::new(operation)))?
            }
        };
        Ok(self.client.read(control::environment_get(id)).await?)
    }

    /// Puts on record what the profile asks for before data may be in the region: this declaration says that it is met.
    async fn record(&self, tenant: TenantId, wanted: &example::Environment) -> Result<(), DemoError> {
        let asked = control::residency_check(tenant, &wanted.region, wanted.mode);
        for missing in self.client.read(asked).await?.missing {
            let record = ResidencyRecordNew {
                condition: missing.condition,
                region: wanted.region.clone(),
                dated_on: Clock::system().now().date_naive(),
                document_name: format!("{}.toml", self.declaration.tenant.external_id),
                document_sha256: hash::sha256(self.text),
            };
            self.client.read(control::residency_record_create(tenant, &record)).await?;
        }
        Ok(())
    }

    /// Follows an operation to its good end.
    async fn follow(&self, operation: &Operation) -> Result<(), DemoError> {
        let events = self.client.follow(operation.id, None);
        futures::pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                Event::Step(step) => self.steps.at(&step.name),
                Event::Ended(ended) if ended.state == OperationState::Succeeded => {}
                Event::Ended(ended) => return Err(DemoError::Operation(Box::new(ended))),
            }
        }
        Ok(())
    }

    /// The tenant, when the control plane calls it active.
    async fn active(&self, id: TenantId) -> Result<Tenant, DemoError> {
        let active = async {
            loop {
                let tenant: Tenant = self.client.read(control::tenant_get(id)).await?;
                if tenant.state == TenantState::Active {
                    return Ok(tenant);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(ACTIVE_WITHIN, active).await;
        waited.unwrap_or_else(|_| Err(DemoError::NotActive(id)))
    }
}
