//! What a control plane has to know before cells can join it. What is there stays as it is.

use std::time::Duration;

use client::{
    Client,
    control::{self, Cell, CellNew, CellState, CellsWhich, JoinTokenNew, RegionPut},
};
use tenants::id::CellId;

use super::{
    LaunchError, Site,
    site::{Region, regions},
};
use crate::transport::Http;

/// How many environments a cell of one machine may have.
const CAPACITY: i32 = 1_000;
/// How long to wait before looking again whether a cell has joined.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Declares the regions and the cells that are missing, and leaves a join token for each cell that nobody has joined as.
pub async fn seed(client: &Client<Http>, sites: &[Site]) -> Result<Vec<CellId>, LaunchError> {
    let there = client.list(control::region_list()).await?;
    for Region { code, country, name } in regions() {
        if !there.iter().any(|region| region.code == code) {
            client.read(control::region_put(&code, None, &RegionPut { country, name })).await?;
        }
    }
    let mut cells = Vec::new();
    for site in sites {
        let cell = declared(client, site).await?;
        if cell.state == CellState::Enrolling {
            let made =
                client.read(control::cell_join_token_create(cell.id, &JoinTokenNew::default())).await?;
            // Only a call that was answered before has none, and this one has a new key.
            site.put_join_token(&made.token.unwrap_or_default())?;
        }
        cells.push(cell.id);
    }
    Ok(cells)
}

async fn declared(client: &Client<Http>, site: &Site) -> Result<Cell, LaunchError> {
    let name = site.name().to_owned();
    let mut there = client.list(control::cell_list(&CellsWhich { name: Some(name.clone()) })).await?;
    if let Some(cell) = there.pop() {
        return Ok(cell);
    }
    let new = CellNew {
        name,
        jurisdiction: site.jurisdiction().id.clone(),
        region: site.region().clone(),
        mode: site.mode(),
        capacity: CAPACITY,
        dedicated_tenant_id: None,
    };
    Ok(client.read(control::cell_create(&new)).await?)
}

/// Waits until the control plane has heard of a cell, which has joined.
pub async fn joined(client: &Client<Http>, cell: CellId) -> Result<(), LaunchError> {
    loop {
        let cell = client.read(control::cell_get(cell)).await?;
        if cell.state != CellState::Enrolling && !cell.stale {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
