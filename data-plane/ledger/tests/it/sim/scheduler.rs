//! A seeded scheduler: one thread, tasks polled one at a time in an order drawn from the seed.
//!
//! Every statement of the simulated store gives way once, so tasks interleave statement by statement. A task can be
//! dropped between any two of its steps, which is what the death of a process is to the others.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use rand::{Rng, rngs::SmallRng};

/// What a task does.
type Run = Pin<Box<dyn Future<Output = ()>>>;

struct Flag {
    ready: AtomicBool,
    idle: Arc<Mutex<Option<Waker>>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.ready.store(true, Ordering::SeqCst);
        if let Some(waker) = self.idle.lock().unwrap().take() {
            waker.wake();
        }
    }
}

struct Task {
    future: Run,
    flag: Arc<Flag>,
    /// Tasks that must finish before the run is over.
    awaited: bool,
    number: u64,
}

/// Tasks to be polled, and those to be dropped.
#[derive(Default)]
struct Inbox {
    spawned: Vec<(u64, bool, Run)>,
    killed: Vec<u64>,
    next: u64,
}

/// A handle to spawn and to kill with. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tasks(Rc<RefCell<Inbox>>);

impl Tasks {
    /// Adds a task; the run waits for it if it is `awaited`.
    pub fn spawn(&self, awaited: bool, future: impl Future<Output = ()> + 'static) -> u64 {
        let mut inbox = self.0.borrow_mut();
        inbox.next += 1;
        let number = inbox.next;
        inbox.spawned.push((number, awaited, Box::pin(future)));
        number
    }

    /// Drops a task where it stands.
    pub fn kill(&self, number: u64) {
        self.0.borrow_mut().killed.push(number);
    }

    /// Polls until every awaited task has finished. Runs inside a tokio runtime with paused time, which moves on when no
    /// task is ready.
    pub async fn run(&self, mut rng: SmallRng) {
        let idle = Arc::new(Mutex::new(None));
        let mut tasks: Vec<Task> = Vec::new();
        std::future::poll_fn(move |main| {
            loop {
                let (spawned, killed) = {
                    let mut inbox = self.0.borrow_mut();
                    (std::mem::take(&mut inbox.spawned), std::mem::take(&mut inbox.killed))
                };
                tasks.extend(spawned.into_iter().map(|(number, awaited, future)| {
                    let flag = Arc::new(Flag { ready: AtomicBool::new(true), idle: idle.clone() });
                    Task { future, flag, awaited, number }
                }));
                tasks.retain(|task| !killed.contains(&task.number));
                if !tasks.iter().any(|task| task.awaited) {
                    return Poll::Ready(());
                }
                *idle.lock().unwrap() = Some(main.waker().clone());
                let ready: Vec<usize> = (0..tasks.len())
                    .filter(|index| tasks[*index].flag.ready.load(Ordering::SeqCst))
                    .collect();
                if ready.is_empty() {
                    return Poll::Pending;
                }
                let index = ready[rng.random_range(0..ready.len())];
                let task = &mut tasks[index];
                task.flag.ready.store(false, Ordering::SeqCst);
                let waker = Waker::from(task.flag.clone());
                if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    tasks.swap_remove(index);
                }
            }
        })
        .await;
    }
}

/// Gives way once: whatever else is ready may go first.
pub async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
