//! One simulated run: clients that grant, revoke, check, deliver and use nonces through all nodes, while
//! things break; then everything is mended and the history judged.

use super::chance::{self, below, millis, pick};
use super::checker::{self, Call, Right, RightOp, Verdict};
use super::world::{APP, CHANNEL, World, allows, name, principal, serving};
use crate::access::{
    AppSpec, Command, GrantEntry, GrantMode, Issued, Issuer, Operations, Pattern, Rejection, Reply,
    Resource, Revision, Subject, Target,
};
use crate::{BarrierMode, Cluster, Committed, ProposeError, RequestId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const USERS: usize = 4;
const CLIENTS: usize = 5;
/// How long things break.
const ACTS: Duration = Duration::from_secs(9);
/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(7);

#[derive(Default)]
struct Nonce {
    accepted: u64,
    asked: u64,
    refused: u64,
}

/// Everything clients saw.
#[derive(Default)]
struct Seen {
    moment: AtomicU64,
    history: Mutex<Vec<(usize, Call<RightOp>)>>,
    revokes: AtomicU64,
    nonces: Mutex<BTreeMap<u64, Nonce>>,
    /// Credentials of users, and at which revision each was seen live.
    credentials: Mutex<Vec<(usize, Revision)>>,
    /// Revocations that returned: of whom, at which revision, and when.
    revoked: Mutex<Vec<(usize, Revision, u64)>>,
    /// Old credentials that were served: whose, seen when, and when the question was asked.
    served: Mutex<Vec<(usize, Revision, u64)>>,
    stop: AtomicBool,
    acts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Seen {
    fn now(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }
    fn add(&self, user: usize, op: RightOp, began: u64, ended: Option<u64>) {
        let call = Call { op, began, ended };
        self.history.lock().unwrap().push((user, call));
    }
    fn count(&self, what: &'static str) {
        *self.acts.lock().unwrap().entry(what).or_default() += 1;
    }
}

fn grant(user: usize) -> Command {
    Command::SetGrants {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::User(name(user)),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact(CHANNEL.into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms: None,
        }],
    }
}

fn revoke(user: usize) -> Command {
    if chance::per_mille(500) {
        return Command::DeleteGrants {
            app: APP,
            issuer: Issuer::Operator,
            subject: Subject::User(name(user)),
            names: Vec::new(),
        };
    }
    Command::Revoke {
        app: APP,
        issuer: Issuer::Operator,
        target: Target::User(name(user)),
        issued_before_ms: None,
        margin_ms: 0,
    }
}

/// Runs work on a node; nothing if the node died over it or does not answer in time.
async fn on<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    world: &World,
    node: u64,
    work: impl FnOnce(Cluster) -> F,
) -> Option<T> {
    let running = world.node(node)?;
    let task = running.life.spawn(work(running.cluster.clone()));
    tokio::time::timeout(PATIENCE, task).await.ok()?.ok()
}

/// Proposes until the outcome is known, under one request id, through any nodes. `Err(true)` = may have
/// happened; `Err(false)` = certainly not.
async fn propose(
    world: &World,
    node: u64,
    command: Command,
) -> Result<(u64, Result<Committed, Rejection>), bool> {
    let request = RequestId(u128::from(chance::next()));
    let mut maybe = false;
    let mut node = node;
    for _ in 0..3 {
        let command = command.clone();
        let work = move |cluster: Cluster| async move { cluster.propose(request, command).await };
        match on(world, node, work).await {
            Some(Ok(committed)) => return Ok((node, Ok(committed))),
            Some(Err(ProposeError::Rejected(why))) => return Ok((node, Err(why))),
            Some(Err(
                ProposeError::NoQuorum(_)
                | ProposeError::Busy
                | ProposeError::DiskFull
                | ProposeError::TooLarge { .. },
            )) => {}
            Some(Err(ProposeError::OutcomeUnknown | ProposeError::Stopping)) | None => maybe = true,
        }
        tokio::time::sleep(millis(10, 200)).await;
        node = 1 + below(world.count());
    }
    Err(maybe)
}

async fn grants(world: &World, seen: &Seen, user: usize, node: u64) {
    let began = seen.now();
    match propose(world, node, grant(user)).await {
        Ok((_, Ok(_))) => {
            seen.count("grants");
            seen.add(user, RightOp::Grant, began, Some(seen.now()));
        }
        Ok((_, Err(why))) => panic!("a grant was rejected: {why:?}"),
        Err(true) => seen.add(user, RightOp::Grant, began, None),
        Err(false) => {}
    }
}

async fn revokes(world: &World, seen: &Seen, user: usize, node: u64) {
    let number = seen.revokes.fetch_add(1, Ordering::SeqCst) as u16;
    let began = seen.now();
    let mut ended = None;
    let command = revoke(user);
    let voids = matches!(command, Command::Revoke { .. });
    match propose(world, node, command).await {
        Ok((_, Err(Rejection::NotFound))) => {
            // It found nothing to take: as good as a refused check.
            seen.add(user, RightOp::Refused, began, Some(seen.now()));
            return;
        }
        Ok((_, Err(why))) => panic!("a revoke was rejected: {why:?}"),
        Err(false) => return,
        Err(true) => {}
        Ok((through, Ok(committed))) => {
            let strict = chance::per_mille(200);
            let mode = match strict {
                true => BarrierMode::Strict,
                false => BarrierMode::All,
            };
            let revision = committed.revision;
            let report = on(world, through, move |cluster: Cluster| async move {
                cluster.barrier(revision, mode).await
            })
            .await;
            if let Some(report) = report
                && report.pending.is_empty()
            {
                assert!(
                    report.enforced.len() + report.fenced.len() >= world.count() as usize,
                    "somebody was forgotten: {report:?}"
                );
                ended = Some(seen.now());
                if voids {
                    let row = (user, revision, seen.now());
                    seen.revoked.lock().unwrap().push(row);
                }
                seen.count(match report.fenced.is_empty() {
                    true => "revokes",
                    false => "revokes with a fenced node",
                });
            }
        }
    }
    let rows = checker::revoke(number, began, ended);
    let mut history = seen.history.lock().unwrap();
    history.extend(rows.into_iter().map(|row| (user, row)));
}

/// As a broker does when a client subscribes: a yes by the view under a lease, a no only by a fresh view.
async fn checks(world: &World, seen: &Seen, user: usize, node: u64) {
    let Some(held) = world.node(node).map(|running| running.held) else {
        return;
    };
    let began = seen.now();
    let answer = on(world, node, move |cluster: Cluster| async move {
        let ask = |cluster: &Cluster| {
            let principal = principal(user, cluster.view().revision);
            let revision = principal.issued;
            let yes = serving(cluster) && allows(cluster, &principal);
            if yes {
                held.lock().unwrap().insert(user, principal);
            }
            yes.then_some(revision)
        };
        if let Some(issued) = ask(&cluster) {
            return Some(Some(issued));
        }
        if !serving(&cluster) || cluster.catch_up().await.is_err() || !serving(&cluster) {
            return None;
        }
        Some(ask(&cluster))
    })
    .await
    .flatten();
    let op = match answer {
        Some(Some(issued)) => {
            if let Issued::Seen(at) = issued {
                seen.credentials.lock().unwrap().push((user, at));
            }
            RightOp::Allowed
        }
        Some(None) => RightOp::Refused,
        None => return seen.count("checks without an answer"),
    };
    seen.count("checks");
    seen.add(user, op, began, Some(seen.now()));
}

/// A credential from earlier is shown again. A refusal says nothing: it may have been revoked.
async fn returns(world: &World, seen: &Seen, node: u64) {
    let old = {
        let credentials = seen.credentials.lock().unwrap();
        match credentials.len() {
            0 => return,
            some => credentials[below(some as u64) as usize],
        }
    };
    let (user, at) = old;
    let began = seen.now();
    let served = on(world, node, move |cluster: Cluster| async move {
        serving(&cluster) && allows(&cluster, &principal(user, at))
    })
    .await;
    if served == Some(true) {
        seen.add(user, RightOp::Allowed, began, Some(seen.now()));
        seen.served.lock().unwrap().push((user, at, began));
        seen.count("old credentials served");
    } else {
        seen.count("old credentials refused");
    }
}

/// A message for a standing subscription: delivered while the lease holds and the subscription stands.
async fn delivers(world: &World, seen: &Seen, user: usize, node: u64) {
    let Some(held) = world.node(node).map(|running| running.held) else {
        return;
    };
    let began = seen.now();
    let delivered = on(world, node, move |cluster: Cluster| async move {
        serving(&cluster) && held.lock().unwrap().contains_key(&user)
    })
    .await;
    if delivered == Some(true) {
        seen.count("deliveries");
        seen.add(user, RightOp::Allowed, began, Some(seen.now()));
    }
}

/// The same nonce through several nodes at once, perhaps one that was used long ago.
async fn nonces(world: &World, seen: &Seen) {
    let fresh = below(24);
    let races = 1 + below(3);
    let command = Command::UseNonce {
        app: APP,
        key: "key".into(),
        nonce: format!("nonce{fresh}").into(),
        // Longer than any run.
        expires_ms: super::life::EPOCH_MS as u64 + 120_000,
    };
    let first = below(world.count());
    let tries =
        (0..races).map(|n| propose(world, 1 + (first + n) % world.count(), command.clone()));
    for outcome in futures_util::future::join_all(tries).await {
        let mut nonces = seen.nonces.lock().unwrap();
        let nonce = nonces.entry(fresh).or_default();
        nonce.asked += 1;
        match outcome {
            Ok((_, Ok(_))) => nonce.accepted += 1,
            Ok((_, Err(Rejection::NonceUsed))) => nonce.refused += 1,
            Ok((_, Err(why))) => panic!("a nonce was rejected: {why:?}"),
            Err(_) => {}
        }
    }
    seen.count("nonce races");
}

async fn client(world: Arc<World>, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::SeqCst) {
        let (user, node) = (below(USERS as u64) as usize, 1 + below(world.count()));
        match below(100) {
            0..20 => grants(&world, &seen, user, node).await,
            20..38 => revokes(&world, &seen, user, node).await,
            38..60 => checks(&world, &seen, user, node).await,
            60..70 => returns(&world, &seen, node).await,
            70..92 => checks(&world, &seen, user, node).await,
            _ => nonces(&world, &seen).await,
        }
        tokio::time::sleep(millis(5, 120)).await;
    }
}

/// Messages for everybody everywhere, all the time, each on its own: some wait in a frozen node's queues and
/// are carried out the moment it wakes.
async fn watcher(world: Arc<World>, seen: Arc<Seen>) {
    let mut waiting = Vec::new();
    while !seen.stop.load(Ordering::SeqCst) {
        let (user, node) = (below(USERS as u64) as usize, 1 + below(world.count()));
        let (there, noted) = (Arc::clone(&world), Arc::clone(&seen));
        waiting.push(tokio::spawn(async move {
            delivers(&there, &noted, user, node).await;
        }));
        waiting.retain(|task| !task.is_finished());
        tokio::time::sleep(millis(10, 60)).await;
    }
    for task in waiting {
        task.await.expect("a delivery");
    }
}

/// One thing that breaks, for a while.
async fn breaks(world: &World, seen: &Seen) {
    let node = match chance::per_mille(500) {
        true => world.leader().unwrap_or(1),
        false => 1 + below(world.count()),
    };
    let other = 1 + node % world.count();
    let act = below(12);
    // Longer than a lease now and then: that is when fencing counts.
    let hold = match matches!(act, 3..=7) && chance::per_mille(400) {
        true => millis(3500, 6500),
        false => millis(200, pick(&[600, 1500, 4500])),
    };
    let others: Vec<u64> = (1..=world.count()).filter(|n| *n != node).collect();
    let what = match act {
        0 => {
            world.kill(node);
            "kills"
        }
        1 => {
            world.cut(node);
            "power cuts"
        }
        2 => {
            (1..=world.count()).for_each(|node| world.cut(node));
            "power cuts of all"
        }
        3 => {
            for other in &others {
                world.wire.block(node, *other);
                world.wire.block(*other, node);
            }
            "isolations"
        }
        4 => {
            others
                .iter()
                .for_each(|other| world.wire.block(*other, node));
            "deaf nodes"
        }
        5 => {
            others
                .iter()
                .for_each(|other| world.wire.block(node, *other));
            "mute nodes"
        }
        6 => {
            world.wire.block(node, other);
            world.wire.block(other, node);
            "lost links"
        }
        7 => {
            world.node(node).inspect(|running| running.life.freeze());
            "pauses"
        }
        8 => {
            world.wire.set_weather(120, 60, 10);
            "storms"
        }
        9 => {
            (1..=world.count()).for_each(|node| world.disk(node).set_slow(true));
            "slow disks"
        }
        10 => {
            others.iter().for_each(|other| world.cut(*other));
            "power cuts of the others"
        }
        _ => {
            let skew = below(800) as i64 - 400;
            world
                .node(node)
                .inspect(|running| running.life.skew_ms.store(skew, Ordering::SeqCst));
            "wrong clocks"
        }
    };
    seen.count(what);
    world.note(format!("{what}: node {node} for {hold:?}"));
    tokio::time::sleep(hold).await;
    if chance::per_mille(700) || act == 7 {
        world.wire.clear();
        world.wire.set_weather(4, 0, 0);
        (1..=world.count()).for_each(|node| world.disk(node).set_slow(false));
        world
            .all()
            .iter()
            .for_each(|(_, running)| running.life.thaw());
        world.start_all().await;
    }
    tokio::time::sleep(millis(50, 1500)).await;
}

/// What one run came to.
pub(crate) struct Outcome {
    pub(crate) acts: BTreeMap<&'static str, u64>,
    pub(crate) calls: usize,
    pub(crate) healed: Duration,
    pub(crate) digest: u64,
}

/// Starts everybody and waits until all serve.
pub(crate) async fn form(world: &World) {
    world.wire.set_weather(4, 0, 0);
    world.start_all().await;
    for (_, running) in world.all() {
        let ready = tokio::time::timeout(Duration::from_secs(30), running.cluster.ready());
        ready.await.expect("the cluster forms");
    }
}

/// Plays the story of one seed; panics over a broken promise.
pub(crate) async fn play(world: Arc<World>) -> Outcome {
    form(&world).await;
    let app = Command::CreateApp(AppSpec {
        id: APP,
        name: "sim".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: BTreeMap::new(),
        aliases: Vec::new(),
        keys: vec![crate::access::KeySpec {
            id: "key".into(),
            app: APP,
            name: "key".into(),
            secret: crate::access::Secret("secret".into()),
            capability: crate::access::Capability::full(),
            revocable_tokens: true,
        }],
    });
    let made = propose(&world, 1, app).await;
    assert!(
        matches!(
            &made,
            Ok((
                _,
                Ok(Committed {
                    reply: Reply::Done,
                    ..
                })
            ))
        ),
        "{made:?}"
    );
    let seen = Arc::new(Seen::default());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(Arc::clone(&world), Arc::clone(&seen))))
        .collect();
    clients.push(tokio::spawn(watcher(Arc::clone(&world), Arc::clone(&seen))));
    let began = tokio::time::Instant::now();
    while began.elapsed() < ACTS {
        breaks(&world, &seen).await;
    }
    let healed = world.heal().await;
    seen.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("a client's promise was broken");
    }
    world.heal().await;
    // What was acknowledged is there, through every node.
    for user in 0..USERS {
        for node in 1..=world.count() {
            checks(&world, &seen, user, node).await;
            grants(&world, &seen, user, node).await;
        }
    }
    for _ in 0..40 {
        returns(&world, &seen, 1 + below(world.count())).await;
    }
    judge(&world, &seen);
    let history = seen.history.lock().unwrap();
    let acts = seen.acts.lock().unwrap().clone();
    Outcome {
        acts,
        calls: history.len(),
        healed,
        digest: digest(&format!("{history:?}{}", world.story())),
    }
}

fn judge(world: &World, seen: &Seen) {
    let history = seen.history.lock().unwrap();
    for user in 0..USERS {
        let calls: Vec<_> = history
            .iter()
            .filter(|(whose, _)| *whose == user)
            .map(|(_, call)| call.clone())
            .collect();
        match checker::check::<Right>(&calls) {
            Verdict::Linearizable => {}
            Verdict::GaveUp => world.note(format!("user {user}: the search was given up")),
            Verdict::Not(stuck) => {
                let tail = stuck.longest.iter().rev().take(12).rev();
                let path: Vec<_> = tail.map(|at| &calls[*at]).collect();
                let next: Vec<_> = stuck.next.iter().map(|at| &calls[*at]).collect();
                panic!(
                    "the history of user {user} is not linearizable.\nafter … {path:#?}\nnone of these can follow: {next:#?}"
                );
            }
        }
    }
    let revoked = seen.revoked.lock().unwrap();
    for (user, at, began) in seen.served.lock().unwrap().iter() {
        let void = revoked
            .iter()
            .find(|(whose, revision, returned)| whose == user && revision > at && returned < began);
        assert!(
            void.is_none(),
            "a credential of user {user} seen at {at} was served at {began} although revoked: {void:?}"
        );
    }
    for (nonce, uses) in seen.nonces.lock().unwrap().iter() {
        assert!(
            uses.accepted <= 1,
            "nonce {nonce} was accepted {} times",
            uses.accepted
        );
        let known = uses.accepted + uses.refused == uses.asked;
        assert!(
            uses.accepted == 1 || !known,
            "nonce {nonce} was refused {} times and never accepted",
            uses.refused
        );
    }
}

fn digest(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
