//! Load: a closed loop (each connection asks again as soon as it has its answer) for peaks, and an open loop (arrivals
//! come whether or not the server is ready) for latency.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, LocalSet};

use super::{
    cpu::{Cpu, Processes},
    http::Connection,
};

/// Not counted at the beginning of a run of `time`: caches fill, connections open.
pub fn warm_up(time: Duration) -> Duration {
    time.min(Duration::from_millis(700))
}

/// Writes the next request and says how many transfers it carries.
pub type Make = dyn Fn(&mut SmallRng, &mut Vec<u8>) -> u64;

/// What to send, where.
pub struct Plan<'a> {
    pub address: SocketAddr,
    pub connections: usize,
    pub time: Duration,
    pub seed: u64,
    pub processes: &'a Processes,
    pub make: &'a Rc<Make>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Units (transfers, or requests where they carry none) answered in the measured time.
    pub units: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// CPU time used in it.
    pub cpu: Cpu,
    /// Units answered with success in all, warm-up included: what the books must show.
    pub acknowledged: u64,
    /// Latencies of the measured requests, ascending, in microseconds; of open loops only.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// Units per second.
    pub fn rate(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64()
    }

    /// Takes what came of another run in.
    pub fn add(&mut self, other: Self) {
        self.units += other.units;
        self.elapsed += other.elapsed;
        self.cpu = self.cpu.plus(other.cpu);
        self.acknowledged += other.acknowledged;
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
    }

    /// A latency in milliseconds; `at` from 0 to 1.
    pub fn percentile(&self, at: f64) -> f64 {
        percentile(&self.latencies, at)
    }
}

/// In milliseconds, of what is ascending and in microseconds; `at` from 0 to 1.
pub fn percentile(ascending: &[u32], at: f64) -> f64 {
    let last = ascending.len().saturating_sub(1);
    let index = (last as f64 * at).round() as usize;
    ascending.get(index).map_or(f64::NAN, |&micros| f64::from(micros) / 1_000.0)
}

/// An answer that is no success.
fn refused(status: u16, body: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    io::Error::other(format!("the server answered {status}: {text}"))
}

/// Runs on one thread, so that the driver takes one core at most.
fn on_one_thread<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Each connection sends its next request as soon as it has its answer.
pub fn closed(plan: &Plan<'_>) -> io::Result<Outcome> {
    on_one_thread(async {
        let (done, stop) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::with_capacity(plan.connections);
        for number in 0..plan.connections {
            let mut connection = Connection::open(plan.address).await?;
            let mut random = SmallRng::seed_from_u64(plan.seed ^ (number as u64) << 32);
            let (make, done, stop) = (Rc::clone(plan.make), Rc::clone(&done), Rc::clone(&stop));
            tasks.push(tokio::task::spawn_local(async move {
                let mut request = Vec::with_capacity(1024);
                while !stop.get() {
                    let units = make(&mut random, &mut request);
                    let answer = connection.exchange(&request).await?;
                    if !(200..300).contains(&answer.status) {
                        return Err(refused(answer.status, answer.body));
                    }
                    done.set(done.get() + units);
                }
                Ok(())
            }));
        }
        tokio::time::sleep(warm_up(plan.time)).await;
        let (began, before, first) = (Instant::now(), plan.processes.cpu()?, done.get());
        tokio::time::sleep(plan.time).await;
        // A very short run on a very slow machine has its first answer late; a rate of nothing would say nothing.
        while done.get() == first && !tasks.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (elapsed, cpu) = (began.elapsed(), plan.processes.cpu()?.since(before));
        let units = done.get() - first;
        stop.set(true);
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(Outcome { units, elapsed, cpu, acknowledged: done.get(), latencies: Vec::new() })
    })
}

/// Requests arrive at `rate` a second as a Poisson process under the seed; each takes a free connection or waits for one.
/// Latency counts from the planned arrival, so that a server that stalls pays for everything that came meanwhile.
pub fn open(plan: &Plan<'_>, rate: f64) -> io::Result<Outcome> {
    on_one_thread(async {
        let mut connections = Vec::with_capacity(plan.connections);
        for _ in 0..plan.connections {
            connections.push(Connection::open(plan.address).await?);
        }
        let whole = warm_up(plan.time) + plan.time;
        let began = Instant::now() + Duration::from_millis(5);
        let (sender, receiver) = mpsc::unbounded_channel();
        let clock = std::thread::spawn({
            let seed = plan.seed;
            move || arrive(began, whole, rate, seed, &sender)
        });
        let receiver = Arc::new(Mutex::new(receiver));
        let latencies = Rc::new(RefCell::new(Vec::with_capacity((rate * plan.time.as_secs_f64()) as usize)));
        let done = Rc::new(Cell::new(0_u64));
        let measured = began + warm_up(plan.time);
        let mut tasks = Vec::with_capacity(connections.len());
        for (number, mut connection) in connections.into_iter().enumerate() {
            let mut random = SmallRng::seed_from_u64(plan.seed ^ (number as u64) << 32);
            let (make, done, latencies, receiver) =
                (Rc::clone(plan.make), Rc::clone(&done), Rc::clone(&latencies), Arc::clone(&receiver));
            tasks.push(tokio::task::spawn_local(async move {
                let mut request = Vec::with_capacity(1024);
                loop {
                    let due: Option<Instant> = receiver.lock().await.recv().await;
                    let Some(due) = due else { return Ok(()) };
                    let units = make(&mut random, &mut request);
                    let answer = connection.exchange(&request).await?;
                    if !(200..300).contains(&answer.status) {
                        return Err(refused(answer.status, answer.body));
                    }
                    done.set(done.get() + units);
                    if due >= measured {
                        let micros = due.elapsed().as_micros();
                        latencies.borrow_mut().push(u32::try_from(micros).unwrap_or(u32::MAX));
                    }
                }
            }));
        }
        tokio::time::sleep_until(measured.into()).await;
        let before = plan.processes.cpu()?;
        tokio::time::sleep(plan.time).await;
        let cpu = plan.processes.cpu()?.since(before);
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        clock.join().map_err(|_| io::Error::other("the clock of arrivals panicked"))?;
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        let units = latencies.len() as u64;
        Ok(Outcome { units, elapsed: plan.time, cpu, acknowledged: done.get(), latencies })
    })
}

/// Sends the instants at which requests are due, each when its time has come. A thread of its own: the runtime's timer
/// knows whole milliseconds only.
fn arrive(began: Instant, whole: Duration, rate: f64, seed: u64, sender: &mpsc::UnboundedSender<Instant>) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut due = began;
    loop {
        // Gaps of a Poisson process are exponential; `1 - x` is never 0.
        let gap: f64 = -(1.0 - random.random::<f64>()).ln() / rate;
        due += Duration::from_secs_f64(gap);
        if due.duration_since(began) > whole {
            return;
        }
        let mut now = Instant::now();
        while now < due {
            std::thread::park_timeout(due - now);
            now = Instant::now();
        }
        if sender.send(due).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate_and_repeat_under_their_seed() {
        let instants = || {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let began = Instant::now() - Duration::from_secs(60);
            arrive(began, Duration::from_secs(20), 500.0, 7, &sender);
            let mut found = Vec::new();
            while let Ok(due) = receiver.try_recv() {
                found.push(due - began);
            }
            found
        };
        let found = instants();
        // 10,000 expected, with a standard deviation of 100.
        assert!((9_500..10_500).contains(&found.len()), "{}", found.len());
        assert!(found.is_sorted());
        assert_eq!(found, instants());
    }

    #[test]
    fn percentiles_are_of_the_sorted_list() {
        let outcome = Outcome { latencies: (1..=101).map(|n| n * 1_000).collect(), ..Outcome::default() };
        assert_eq!(
            (outcome.percentile(0.5), outcome.percentile(0.99), outcome.percentile(1.0)),
            (51.0, 100.0, 101.0)
        );
    }
}
