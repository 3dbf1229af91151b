//! The baseline of single transfers: pgbench on the function of `baseline.sql`.

use std::{
    error::Error,
    fs, io,
    process::{Command, Stdio},
    time::Duration,
};

use platform::{ctx::Clock, db::Role};

use super::{
    cpu::Cpu,
    world::{ACCOUNT_PREFIX, CLIENT, CURRENCY, DATABASES, ENVIRONMENT, SCOPE, World},
};

/// The numbers of clients that are tried; the best counts.
pub const CLIENTS: [u32; 5] = [8, 16, 32, 64, 128];

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub clients: u32,
    /// Transactions a second, without the time to connect.
    pub rate: f64,
    /// Transactions in all.
    pub transactions: u64,
    /// CPU time of the whole run.
    pub cpu: Cpu,
}

/// One transaction: ids that grow with time, as the cell's callers make them, and two different accounts.
fn script(accounts: u64) -> String {
    format!(
        "\\set debit random(1, {accounts})\n\
         \\set credit 1 + (:debit - 1 + random(1, {others})) % {accounts}\n\
         \\set amount random(1, 100)\n\
         \\set low random(1, 9223372036854775807)\n\
         \\set high :high + 1\n\
         SELECT bench_post({shard}, '{environment}', bench_uuid(:high, :low), bench_uuid({ACCOUNT_PREFIX}, :debit), \
         bench_uuid({ACCOUNT_PREFIX}, :credit), :amount, '{CURRENCY}', '{CLIENT}', '{client}', 'bench');\n",
        others = accounts - 1,
        shard = SCOPE.shard,
        environment = ENVIRONMENT.uuid(),
        client = CLIENT.uuid(),
    )
}

/// Runs it with so many clients.
pub fn run(
    world: &World,
    accounts: u64,
    clients: u32,
    time: Duration,
    seed: u64,
) -> Result<Run, Box<dyn Error>> {
    let file = world.folder().join("pgbench.sql");
    fs::write(&file, script(accounts))?;
    let processes = world.processes(None);
    let before = processes.cpu()?;
    // The upper half of a UUID version 7: milliseconds, then bits that count within them.
    let high = Clock::system().now().timestamp_millis() << 16;
    let output = Command::new(world.cluster.programs().join("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared"])
        .arg(format!("--client={clients}"))
        .arg(format!("--jobs={}", clients.min(2)))
        .arg(format!("--time={}", time.as_secs().max(1)))
        .arg(format!("--random-seed={seed}"))
        .arg(format!("--define=high={high}"))
        .arg("--file")
        .arg(&file)
        .arg(world.cluster.url(Some(Role::Ledger), DATABASES[1]))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("pgbench (Debian: the package of the server): {error}"))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let (rate, transactions) = read(&text).ok_or_else(|| format!("pgbench said something new: {text}"))?;
    Ok(Run { clients, rate, transactions, cpu: processes.cpu()?.since(before) })
}

/// Rate and number of transactions, from what pgbench prints.
fn read(text: &str) -> Option<(f64, u64)> {
    let after = |label: &str| {
        let rest = text.lines().find_map(|line| line.trim().strip_prefix(label))?;
        rest.trim().split(|char: char| char != '.' && !char.is_ascii_digit()).next()
    };
    let transactions = after("number of transactions actually processed:")?.parse().ok()?;
    // It leaves the rate out if its clients were connected only when the time was over.
    let rate = if transactions == 0 { 0.0 } else { after("tps =")?.parse().ok()? };
    Some((rate, transactions))
}

#[cfg(test)]
mod tests {
    #[test]
    fn its_output_is_read() {
        let text = "pgbench (15.18)\nnumber of threads: 2\nnumber of transactions actually processed: 6021\n\
                    number of failed transactions: 0 (0.000%)\nlatency average = 5.3 ms\ninitial connection time = 12 ms\n\
                    tps = 3010.512345 (without initial connection time)\n";
        assert_eq!(super::read(text), Some((3010.512345, 6021)));
        let nothing =
            "number of transactions actually processed: 0\nnumber of failed transactions: 0 (NaN%)\n";
        assert_eq!(super::read(nothing), Some((0.0, 0)));
        assert_eq!(super::read("connection refused"), None);
    }
}
