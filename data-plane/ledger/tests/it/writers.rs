//! Group commit with many callers, two processes' worth of writers, and a chain that somebody touched.

use ledger::{
    Ledger,
    account::{Class, State},
    books,
    hold::HoldState,
    limit::{Direction, NewLimit, Window},
    movements::{Capture, Deposit, Hold, PlainTransfer},
    outcome::{Outcome, Reason},
    store::{Head, Store, StoreError, StoreTx, sql::SqlStore},
    system::{ChainError, Counted, TotalsError, verify_chain, verify_totals},
    transfer::Transfer,
};
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock},
    db::Backend,
    testing::label,
};
use sea_orm::ConnectionTrait;
use tenants::{
    environment::Mode,
    money::{Currency, Money},
};

use crate::world::{Books, World, account_id, transfer_id};

fn ctx(world: &World) -> Ctx {
    Ctx {
        scope: world.scope,
        mode: Mode::Sandbox,
        actor: Actor::System("test"),
        request_id: "r".into(),
        clock: EnvironmentClock::new(Clock::system(), chrono::TimeDelta::zero()),
    }
}

fn mxn(amount: i64) -> Money {
    Money::new(amount, Currency::parse("MXN").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_of_two_writers_lose_and_double_nothing() {
    for world in World::both().await {
        let ctx = ctx(&world);
        // Two ledgers on one database: what two processes of a cell are.
        let ledgers = [
            Ledger::start(world.db.db(), 2, &Clock::system()).await.unwrap(),
            Ledger::start(world.db.db(), 2, &Clock::system()).await.unwrap(),
        ];
        world.open(account_id(1), Class::Asset, "MXN", true).await;
        for id in 2..=5 {
            world.open(account_id(id), Class::Liability, "MXN", false).await;
        }
        let seed = Deposit {
            id: transfer_id(1),
            debit: account_id(1),
            credit: account_id(2),
            money: mxn(1_000_000),
        };
        assert!(matches!(ledgers[0].post_one(&ctx, seed).await, Ok(Outcome::Posted(_))));
        let mut tasks = Vec::new();
        for number in 0..200_u128 {
            // Every transfer is asked for twice, once of each writer.
            for ledger in &ledgers {
                let (ledger, ctx) = (ledger.clone(), ctx.clone());
                tasks.push(tokio::spawn(async move {
                    let transfer = PlainTransfer {
                        id: transfer_id(100 + number),
                        debit: account_id(2),
                        credit: account_id(3 + number % 3),
                        money: mxn(10),
                    };
                    ledger.post_one(&ctx, transfer).await.unwrap()
                }));
            }
        }
        let mut posted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Outcome::Posted(_) => posted += 1,
                Outcome::Replayed(_) => {}
                Outcome::Rejected(rejection) => panic!("{}: {rejection:?}", label(world.db.backend())),
            }
        }
        assert_eq!(posted, 200);
        assert_eq!(world.account(account_id(2)).await.balance(), Some(1_000_000 - 2_000));
        world.check_books().await;
        let tx = world.db.begin_read(world.scope).await.unwrap();
        let entries = books::entries(&tx, world.scope, account_id(2), 0, 1_000).await.unwrap();
        assert_eq!(entries.len(), 201);
        let last = entries.last().map(|(_, row)| row.debit_balance);
        assert_eq!(last, Some(1_000_000 - 2_000));
    }
}

#[tokio::test]
async fn a_touched_row_breaks_the_chain() {
    for world in World::both().await {
        world.open(account_id(1), Class::Asset, "MXN", true).await;
        world.open(account_id(2), Class::Liability, "MXN", false).await;
        for number in 1..=3_u128 {
            let deposit = Deposit {
                id: transfer_id(number),
                debit: account_id(1),
                credit: account_id(2),
                money: mxn(5),
            };
            world.post(vec![deposit.into()]).await;
        }
        let verified = verify_chain(world.db.db(), world.scope.shard).await.unwrap();
        assert_eq!((verified.batches, verified.transfers), (3, 3));
        let root = world.db.root().await;
        root.execute_unprepared("UPDATE ledger_transfer SET amount = 6 WHERE seq = 2").await.unwrap();
        let broken = verify_chain(world.db.db(), world.scope.shard).await;
        assert!(matches!(broken, Err(ChainError::Broken { batch: 2 })), "{broken:?}");
    }
}

#[tokio::test]
async fn a_touched_total_is_found() {
    for world in World::both().await {
        world.open(account_id(1), Class::Asset, "MXN", true).await;
        world.open(account_id(2), Class::Liability, "MXN", false).await;
        let deposit =
            Deposit { id: transfer_id(1), debit: account_id(1), credit: account_id(2), money: mxn(9) };
        let hold = Hold {
            id: transfer_id(2),
            debit: account_id(2),
            credit: account_id(1),
            money: mxn(4),
            expires_at: None,
        };
        world.post(vec![deposit.into(), hold.into()]).await;
        let shard = world.scope.shard;
        let counted = verify_totals(world.db.db(), shard).await.unwrap();
        assert_eq!(counted, Counted { accounts: 2, transfers: 2 });
        let root = world.db.root().await;
        for column in ["debits_posted", "credits_posted", "debits_held", "credits_held"] {
            let add =
                |n: i64| format!("UPDATE ledger_account SET {column} = {column} + {n} WHERE debits_held > 0");
            root.execute_unprepared(&add(1)).await.unwrap();
            let wrong = verify_totals(world.db.db(), shard).await;
            assert!(
                matches!(wrong, Err(TotalsError::Wrong { account }) if account == account_id(2)),
                "{column}"
            );
            root.execute_unprepared(&add(-1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_app_role_cannot_touch_a_total() {
    for world in World::both().await {
        if world.db.backend() == Backend::Sqlite {
            continue;
        }
        world.open(account_id(2), Class::Liability, "MXN", false).await;
        for sql in [
            "UPDATE ledger_account SET credits_posted = 5",
            "DELETE FROM ledger_transfer",
            "INSERT INTO ledger_head (shard_id, batch, seq, hash, booked_at) VALUES (9, 0, 0, '', now())",
        ] {
            let tx = world.db.begin(world.scope).await.unwrap();
            let refused = tx.execute_unprepared(sql).await.unwrap_err();
            assert_eq!(platform::db::error::code(&refused).as_deref(), Some("42501"), "{sql}");
        }
    }
}

#[tokio::test]
async fn holds_expire_by_their_environments_clock_once() {
    for mut world in World::both().await {
        world.open(account_id(1), Class::Asset, "MXN", true).await;
        world.open(account_id(2), Class::Liability, "MXN", false).await;
        let deposit =
            Deposit { id: transfer_id(1), debit: account_id(1), credit: account_id(2), money: mxn(500) };
        world.post(vec![deposit.into()]).await;
        let hold = |id, seconds| Hold {
            id: transfer_id(id),
            debit: account_id(2),
            credit: account_id(1),
            money: mxn(100),
            expires_at: Some(world.now + chrono::TimeDelta::seconds(seconds)),
        };
        let block = Hold { expires_at: None, ..hold(5, 0) };
        let holds = [hold(2, 60), hold(3, 61), hold(4, 3_600), block];
        world.post(holds.map(Into::into).to_vec()).await;
        assert_eq!(world.account(account_id(2)).await.held(), 400);

        let clock = Clock::manual(world.now);
        let ledger = Ledger::start(world.db.db(), 2, &clock).await.unwrap();
        assert_eq!(ledger.expire_holds(world.db.db(), &clock).await.unwrap(), 0);
        clock.advance(chrono::TimeDelta::seconds(60));
        assert_eq!(ledger.expire_holds(world.db.db(), &clock).await.unwrap(), 1);
        assert_eq!(ledger.expire_holds(world.db.db(), &clock).await.unwrap(), 0);
        // Two sweeps at once have one effect.
        clock.advance(chrono::TimeDelta::seconds(1));
        let (first, second) = tokio::join!(
            ledger.expire_holds(world.db.db(), &clock),
            ledger.expire_holds(world.db.db(), &clock)
        );
        assert_eq!(first.unwrap() + second.unwrap(), 1);
        // A sandbox whose clock was moved: the wall clock stands still.
        let tx = world.db.begin(world.scope).await.unwrap();
        let to = clock.now() + chrono::TimeDelta::hours(1);
        platform::clock::advance_in_tx(&tx, world.scope, Mode::Sandbox, clock.now(), to).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ledger.expire_holds(world.db.db(), &clock).await.unwrap(), 1);
        assert_eq!(world.account(account_id(2)).await.held(), 100, "an authority's block stays");
        world.tick(7_200);
        world.check_books().await;
    }
}

#[tokio::test]
async fn what_waits_is_bounded_in_transfers() {
    let world = World::on(platform::testing::TestDb::sqlite(crate::world::migrations).await).await;
    let ctx = ctx(&world);
    let ledger = Ledger::start(world.db.db(), 2, &Clock::system()).await.unwrap();
    // Whoever has the file's one write transaction stops the writer.
    let stopper = world.db.begin(world.scope).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..20_u128 {
        let (ledger, ctx) = (ledger.clone(), ctx.clone());
        calls.spawn(async move {
            let transfers = (0..8_000_u128).map(|number| {
                let id = transfer_id(call * 10_000 + number + 1);
                PlainTransfer { id, debit: account_id(1), credit: account_id(2), money: mxn(1) }.into()
            });
            ledger.post(&ctx, transfers.collect()).await
        });
    }
    // One batch is with the writer and sixteen wait; no other call can end while the writer stands.
    let first = calls.join_next().await.unwrap().unwrap();
    assert_eq!(first, Err(ledger::writer::Unavailable::Overloaded));
    calls.abort_all();
    drop(stopper);
}

#[tokio::test]
async fn a_hold_whose_capture_was_taken_back_names_no_end() {
    for world in World::both().await {
        world.open(account_id(1), Class::Asset, "MXN", true).await;
        world.open(account_id(2), Class::Liability, "MXN", false).await;
        world.open(account_id(3), Class::Liability, "MXN", false).await;
        let deposit = |id| Deposit {
            id: transfer_id(id),
            debit: account_id(1),
            credit: account_id(2),
            money: mxn(100),
        };
        let (debit, credit) = (account_id(2), account_id(3));
        let hold = Hold { id: transfer_id(2), debit, credit, money: mxn(60), expires_at: None };
        world.post(vec![deposit(1).into(), hold.into()]).await;
        // One chain that fails after its capture, and something else, so that the batch is written.
        let capture = Capture { id: transfer_id(3), hold: transfer_id(2), amount: None };
        let too_much = PlainTransfer { id: transfer_id(4), debit, credit, money: mxn(1_000) };
        let capture = Transfer { linked: true, ..capture.into() };
        let outcomes = world.post(vec![capture, too_much.into(), deposit(5).into()]).await;
        let names: Vec<_> = outcomes.iter().map(crate::world::name).collect();
        assert_eq!(
            names,
            ["linked_transfer_failed", "insufficient_funds", "posted"],
            "{}",
            label(world.db.backend())
        );
        let tx = world.db.begin_read(world.scope).await.unwrap();
        let stands = books::hold(&tx, world.scope, transfer_id(2)).await.unwrap().unwrap();
        assert_eq!(
            (stands.state, stands.resolved_by),
            (HoldState::Held, None),
            "{}",
            label(world.db.backend())
        );
    }
}

/// Reading locks nothing but the head. Whoever closes an account or lowers a limit between reading and writing is noticed.
#[tokio::test]
async fn what_others_changed_since_it_was_read_is_not_written_over() {
    let world = World::both().await.pop().unwrap();
    assert_eq!(world.db.backend(), Backend::Postgres, "SQLite has one transaction at a time");
    world.open(account_id(1), Class::Asset, "MXN", true).await;
    world.open(account_id(2), Class::Liability, "MXN", false).await;
    let rule = NewLimit {
        direction: Direction::In,
        window: Window::Day,
        maximum: 100,
        time_zone: chrono_tz::Tz::America__Mexico_City,
    };
    world.set_limits(account_id(2), &[rule]).await;
    let environment = world.scope.id;
    let keys = [account_id(1), account_id(2)].map(|id| (environment, id));
    let root = world.db.root().await;
    let store = SqlStore(world.db.db().clone());
    for (change, back) in [
        ("UPDATE ledger_account SET state = 3 WHERE class = 1", "UPDATE ledger_account SET state = 0"),
        (
            "UPDATE ledger_account SET limits_revision = limits_revision + class",
            "UPDATE ledger_account SET limits_revision = limits_revision - class",
        ),
        ("SELECT 1", "SELECT 1"),
    ] {
        let mut tx = store.begin().await.unwrap();
        let head = tx.lock_head(world.scope.shard).await.unwrap().unwrap();
        let found = tx.read(world.scope.shard, &[], &keys).await.unwrap();
        assert_eq!((found.accounts.len(), found.limits.len()), (2, 1));
        root.execute_unprepared(change).await.unwrap();
        tx.update_accounts(world.scope.shard, &found.accounts).await.unwrap();
        tx.update_limits(world.scope.shard, &found.limits).await.unwrap();
        let written = tx.append_batch(world.scope.shard, head, Head { batch: head.batch + 1, ..head }).await;
        let noticed = matches!(written, Err(StoreError::Retry(_)));
        assert_eq!(noticed, change != "SELECT 1", "{change}: {written:?}");
        drop(tx);
        root.execute_unprepared(back).await.unwrap();
    }
}

/// What a writer remembers does not outlive another's change of it.
#[tokio::test]
async fn a_writer_that_remembers_notices_what_others_change() {
    for world in World::both().await {
        let label = label(world.db.backend());
        let ledger = Ledger::start(world.db.db(), 2, &Clock::system()).await.unwrap();
        let ctx = ctx(&world);
        let [cash, customer] = [account_id(1), account_id(2)];
        world.open(cash, Class::Asset, "MXN", true).await;
        world.open(customer, Class::Liability, "MXN", false).await;
        let deposit = async |number, amount| {
            let deposit =
                Deposit { id: transfer_id(number), debit: cash, credit: customer, money: mxn(amount) };
            match ledger.post_one(&ctx, deposit).await.unwrap() {
                Outcome::Posted(row) => Ok(row.credit_balance),
                Outcome::Replayed(row) => Ok(-row.credit_balance),
                Outcome::Rejected(rejection) => Err(rejection.reason),
            }
        };
        let rule = |window, maximum| NewLimit {
            direction: Direction::In,
            window,
            maximum,
            time_zone: chrono_tz::Tz::America__Bogota,
        };
        assert_eq!(deposit(1, 100).await, Ok(100), "{label}");
        assert_eq!(deposit(2, 100).await, Ok(200), "{label}");

        assert!(world.move_state(customer, State::Open, State::Frozen).await);
        assert_eq!(deposit(3, 1).await, Err(Reason::CreditAccountFrozen), "{label}");
        assert!(world.move_state(customer, State::Frozen, State::Open).await);
        assert_eq!(deposit(4, 1).await, Ok(201), "{label}");

        // The second limit of an account, and then another maximum of the same one.
        world.set_limits(customer, &[rule(Window::Day, 10_000)]).await;
        assert_eq!(deposit(5, 1).await, Ok(202), "{label}");
        world.set_limits(customer, &[rule(Window::Day, 10_000), rule(Window::Transfer, 50)]).await;
        assert_eq!(deposit(6, 51).await, Err(Reason::LimitExceeded), "{label}");
        world.set_limits(customer, &[rule(Window::Transfer, 60)]).await;
        assert_eq!(deposit(7, 51).await, Ok(253), "{label}");

        // Another process writes the shard: its books, and an id of its own.
        let other = Deposit { id: transfer_id(8), debit: cash, credit: customer, money: mxn(7) };
        world.post(vec![other.into()]).await;
        assert_eq!(deposit(9, 1).await, Ok(261), "{label}");
        assert_eq!(deposit(8, 7).await, Ok(-260), "{label}");
        assert_eq!(deposit(8, 8).await, Err(Reason::IdReused), "{label}");
        // Refused by another process, and refused again though it could be posted now.
        let refused = Deposit { id: transfer_id(10), debit: cash, credit: customer, money: mxn(61) };
        world.post(vec![refused.into()]).await;
        world.set_limits(customer, &[]).await;
        assert_eq!(deposit(11, 1).await, Ok(262), "{label}");
        assert_eq!(deposit(10, 61).await, Err(Reason::LimitExceeded), "{label}");
        world.check_books().await;
    }
}

#[tokio::test]
async fn a_ledger_has_the_shards_it_was_made_with() {
    for world in World::both().await {
        for shards in [1, 3] {
            let refused = Ledger::start(world.db.db(), shards, &Clock::system()).await.err().unwrap();
            let said = refused.to_string();
            assert!(said.contains("set cell.shards to 2"), "{said}");
        }
        assert!(Ledger::start(world.db.db(), 2, &Clock::system()).await.is_ok());
    }
}
