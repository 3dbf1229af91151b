//! `tambo bench planes`: what a tenant costs when there are many. Both planes as processes, each size on a folder of its
//! own: tenants are approved, then each gets an environment, so many at a time; then nobody does anything for a while.

use std::{
    error::Error,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use client::{
    Client, Event,
    control::{self, EnvironmentNew, OperationState, OrganizationNew, TenantNew, TenantStep},
};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tenants::{
    environment::Mode,
    example::{Declaration, EXAMPLES},
    id::TenantId,
    region::RegionCode,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{cpu, load::percentile};
use crate::{
    console::say,
    launch::{Plane, Site, Stack},
    transport::Http,
};

/// How many are declared and provisioned at a time.
const AT_A_TIME: usize = 16;
/// What is read before measuring begins: reports and renewals of what was just done.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// A tenant of the largest size against one of the size before it.
const MOST: f64 = 1.2;

/// How many, and how to say it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints one JSON object in place of a table
    #[arg(long)]
    json: bool,
    /// How many tenants
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000", value_parser = clap::value_parser!(u32).range(1..=3_000))]
    sizes: Vec<u32>,
    /// For how long nobody does anything, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    idle: u32,
    /// Where the data is put; removed afterwards. The folder of temporary files, if absent
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What processes have used.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// CPU time so far.
    cpu: Duration,
    /// Resident memory, in bytes.
    resident: u64,
}

/// What was seen at one size.
#[derive(Debug)]
struct Seen {
    tenants: u32,
    /// From the first environment that was asked for to the last one that was ready.
    whole: Duration,
    /// How long each took, ascending, in microseconds.
    each: Vec<u32>,
    /// The control plane, and all cells: before the first tenant, after the last, after the idle time.
    planes: [[Used; 3]; 2],
    /// Bytes over the links meanwhile, both ways.
    link: [u64; 2],
    idle: Duration,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = match &args.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let idle = Duration::from_secs(args.idle.into());
    let mut seen = Vec::new();
    for &tenants in &args.sizes {
        seen.push(runtime.block_on(measure(&folder.path().join(tenants.to_string()), tenants, idle))?);
    }
    super::print(&if args.json { serde_json::to_string_pretty(&report(&seen))? } else { table(&seen) });
    Ok(())
}

async fn measure(folder: &Path, tenants: u32, idle: Duration) -> Result<Seen, Box<dyn Error>> {
    let link = counted_link(&Plane::prepare(&folder.join("control-plane"))?).await?;
    let stack = Stack::start(folder).await?;
    let seen = with(&stack, tenants, idle, &link).await;
    stack.stop().await;
    seen
}

async fn with(stack: &Stack, tenants: u32, idle: Duration, link: &AtomicU64) -> Result<Seen, Box<dyn Error>> {
    let client = &stack.plane().client()?;
    let sites: Vec<Site> = stack.places().into_values().collect();
    say(format_args!("{tenants} tenants: declaring"));
    let approved = |(number, site)| approved(client, number, site);
    let approved: Vec<(TenantId, RegionCode)> = stream::iter((0..tenants).zip(sites.iter().cycle()))
        .map(approved)
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let before = (planes()?, link.load(Ordering::Relaxed));
    say(format_args!("{tenants} tenants: provisioning"));
    let began = Instant::now();
    let mut each: Vec<u32> = stream::iter(approved)
        .map(|(tenant, region)| ready(client, tenant, region))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let whole = began.elapsed();
    each.sort_unstable();
    tokio::time::sleep(SETTLES_WITHIN).await;
    let after = (planes()?, link.load(Ordering::Relaxed));
    say(format_args!("{tenants} tenants: idle"));
    tokio::time::sleep(idle).await;
    let end = (planes()?, link.load(Ordering::Relaxed));
    let of = |at: usize| [before.0[at], after.0[at], end.0[at]];
    let link = [after.1 - before.1, end.1 - after.1];
    Ok(Seen { tenants, whole, each, planes: [of(0), of(1)], link, idle })
}

/// A tenant that may have environments, and the region of its cell.
async fn approved(
    client: &Client<Http>,
    number: u32,
    site: &Site,
) -> Result<(TenantId, RegionCode), client::Error> {
    let jurisdiction = site.jurisdiction();
    // Each jurisdiction has an example, with a licence of its own.
    let mut examples = EXAMPLES.iter().filter_map(|text| Declaration::parse(text).ok().map(|one| one.tenant));
    let licence = examples.find(|one| one.jurisdiction == jurisdiction.id).map(|one| one.licence);
    let name = format!("Bench {number}");
    let new = OrganizationNew { external_id: None, name: name.clone(), country: jurisdiction.country };
    let organization = client.read(control::organization_create(&new)).await?.id;
    let new = TenantNew {
        organization_id: Some(organization),
        external_id: None,
        name,
        jurisdiction: jurisdiction.id.clone(),
        licence: licence.unwrap_or_default(),
    };
    let tenant = client.read(control::tenant_create(&new)).await?.id;
    let why = TenantStep::new("bench", None);
    client.read(control::tenant_verify(tenant, &why)).await?;
    client.read(control::tenant_approve(tenant, &why)).await?;
    Ok((tenant, site.region().clone()))
}

/// How long its environment took to be ready, in microseconds.
async fn ready(client: &Client<Http>, tenant: TenantId, region: RegionCode) -> Result<u32, Box<dyn Error>> {
    let began = Instant::now();
    let new = EnvironmentNew { mode: Mode::Sandbox, region, profile_version: None, clock_offset_ms: None };
    let operation = client.read(control::environment_create(tenant, &new)).await?;
    let events = client.follow(operation.id, None);
    futures::pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        if let Event::Ended(ended) = event
            && ended.state != OperationState::Succeeded
        {
            return Err(format!("{} of {} is {}", ended.kind, ended.subject_id, ended.state).into());
        }
    }
    Ok(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX))
}

/// The control plane, and all cells together: the children of this process.
fn planes() -> io::Result<[Used; 2]> {
    let mut planes = [Used::default(); 2];
    for child in cpu::children(std::process::id())? {
        let line = fs::read(format!("/proc/{child}/cmdline"))?;
        let plane = &mut planes[usize::from(line.split(|byte| *byte == 0).any(|word| word == b"cell"))];
        plane.cpu += cpu::used(child)?;
        plane.resident += cpu::resident(child)?;
    }
    Ok(planes)
}

/// Puts a wire of ours between cells and control plane, and counts what goes over it.
#[expect(clippy::disallowed_methods, reason = "a wire that counts, between processes of this measurement")]
async fn counted_link(plane: &Plane) -> Result<Arc<AtomicU64>, Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (host, near) = (plane.link_host(), listener.local_addr()?);
    let file = plane.folder().join(Plane::CONFIG);
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replace(&format!("https://{host}"), &format!("https://{near}")))?;
    let far: SocketAddr = host.parse()?;
    let sum = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sum);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                // Who is not there, or goes away, is asked again by the cell.
                if let Ok(far) = TcpStream::connect(far).await {
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        _ = carry(near_in, far_out, &count) => {}
                        _ = carry(far_in, near_out, &count) => {}
                    }
                }
            });
        }
    });
    Ok(sum)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&bytes[..read]).await?;
    }
}

const MIB: f64 = 1024.0 * 1024.0;

impl Seen {
    /// What one tenant takes: of time, in ms; of the memory of all processes, and of the links, in bytes.
    fn each_takes(&self) -> [(&'static str, f64); 3] {
        let tenants = f64::from(self.tenants);
        let grown =
            self.planes.iter().map(|[before, after, _]| after.resident as f64 - before.resident as f64);
        [
            ("time", self.whole.as_secs_f64() * 1e3 / tenants),
            ("memory", grown.sum::<f64>() / tenants),
            ("link_bytes", self.link[0] as f64 / tenants),
        ]
    }

    /// CPU time per second of the control plane and of all cells while nobody did anything, in ms.
    fn idle_cpu(&self) -> [f64; 2] {
        self.planes.map(|[_, after, end]| {
            end.cpu.saturating_sub(after.cpu).as_secs_f64() * 1e3 / self.idle.as_secs_f64()
        })
    }

    /// Bytes over the links per idle environment and hour.
    fn idle_bytes(&self) -> f64 {
        self.link[1] as f64 / f64::from(self.tenants) / self.idle.as_secs_f64() * 3_600.0
    }

    fn json(&self) -> Value {
        let [plane, cells] = self.planes.map(|[_, after, _]| after.resident);
        let [plane_idle, cells_idle] = self.idle_cpu();
        json!({
            "tenants": self.tenants,
            "tenants_per_s": f64::from(self.tenants) / self.whole.as_secs_f64(),
            "p50_ms": percentile(&self.each, 0.5),
            "p99_ms": percentile(&self.each, 0.99),
            "control_plane_bytes": plane,
            "cells_bytes": cells,
            "per_tenant": self.each_takes().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "idle_cpu_ms_per_s": {"control_plane": plane_idle, "cells": cells_idle},
            "idle_link_bytes_per_environment_hour": self.idle_bytes(),
        })
    }
}

/// A tenant of the last size against one of the size before.
fn goals(seen: &[Seen]) -> Vec<(&'static str, f64)> {
    let [.., few, many] = seen else { return Vec::new() };
    few.each_takes()
        .into_iter()
        .zip(many.each_takes())
        .map(|((name, few), (_, many))| (name, many / few))
        .collect()
}

fn report(seen: &[Seen]) -> Value {
    let goals = goals(seen).into_iter().map(|(name, ratio)| {
        json!({"name": format!("{name}_per_tenant"), "ratio": ratio, "target": MOST, "met": ratio <= MOST})
    });
    json!({"goals": goals.collect::<Vec<_>>(), "sizes": seen.iter().map(Seen::json).collect::<Vec<_>>()})
}

fn table(seen: &[Seen]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "tenants",
        "per second",
        "p50 ms",
        "p99 ms",
        "control plane MiB",
        "cells MiB",
        "per tenant: ms",
        "KiB of memory",
        "KiB of link",
        "idle CPU ms/s",
        "idle link B per environment hour",
    ]);
    for one in seen {
        let [plane, cells] = one.planes.map(|[_, after, _]| after.resident as f64 / MIB);
        let [(_, time), (_, memory), (_, link)] = one.each_takes();
        let [plane_idle, cells_idle] = one.idle_cpu();
        table.add_row([
            one.tenants.to_string(),
            format!("{:.1}", f64::from(one.tenants) / one.whole.as_secs_f64()),
            format!("{:.0}", percentile(&one.each, 0.5)),
            format!("{:.0}", percentile(&one.each, 0.99)),
            format!("{plane:.0}"),
            format!("{cells:.0}"),
            format!("{time:.1}"),
            format!("{:.1}", memory / 1024.0),
            format!("{:.2}", link / 1024.0),
            format!("{plane_idle:.1} + {cells_idle:.1}"),
            format!("{:.0}", one.idle_bytes()),
        ]);
    }
    let goals = goals(seen).into_iter().map(|(name, ratio)| {
        let met = if ratio <= MOST { "yes" } else { "NO" };
        format!("\n{name} per tenant against the size before: {ratio:.2}, ≤ {MOST}: {met}")
    });
    format!("{table}{}", goals.collect::<String>())
}
