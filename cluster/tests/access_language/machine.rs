//! A state with a log position, a clock and named principals, driven line by line.

use super::{Line, app, command, operations, rights, subject};
use gatecast_cluster::access::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

pub struct Machine {
    pub state: State,
    index: Revision,
    now_ms: Millis,
    principals: BTreeMap<String, Principal>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            state: State::default(),
            index: 0,
            now_ms: 1_000,
            principals: BTreeMap::new(),
        }
    }
}

impl Machine {
    /// Runs one line and says what it came to.
    pub fn run(&mut self, text: &str) -> String {
        let line = Line::read(text);
        if let Some(command) = command(&line, self.now_ms) {
            self.index += 1;
            return self.apply(&command);
        }
        match line.word(0) {
            "time" => {
                self.now_ms = line.number(1);
                String::new()
            }
            "same" => {
                let rest = text.split_once(' ').unwrap().1;
                let command = command(&Line::read(rest), self.now_ms).expect("a command");
                self.apply(&command)
            }
            "request" => {
                let (request, rest) = text.split_once(' ').unwrap().1.split_once(' ').unwrap();
                self.index += 1;
                let op = Op {
                    request: request.parse().unwrap(),
                    command: command(&Line::read(rest), self.now_ms).expect("a command"),
                };
                let batch = Batch {
                    time_ms: self.now_ms,
                    ops: vec![op],
                };
                let outcomes = apply_batch(&mut self.state, &batch, self.index);
                outcomes.iter().map(show).collect()
            }
            "as" => {
                let principal = self.principal(&line);
                self.principals.insert(line.word(1).to_owned(), principal);
                String::new()
            }
            _ => format!("{text}: {}\n", self.ask(&line)),
        }
    }

    fn apply(&mut self, command: &Command) -> String {
        let stamp = Stamp {
            index: self.index,
            time_ms: self.now_ms,
        };
        show(&apply(&mut self.state, command, stamp))
    }

    fn ask(&mut self, line: &Line<'_>) -> String {
        match line.word(0) {
            "check" => {
                let question = self.question(line);
                let (decision, until) = decide_until(&self.state, &question);
                assert_eq!(decide(&self.state, &question), decision);
                match until {
                    Some(until) => format!("{decision:?} until {until}"),
                    None => format!("{decision:?}"),
                }
            }
            "allowed" => {
                let mut question = self.question(line);
                question.operations = Operations::ALL;
                format!("{:?}", allowed(&self.state, &question).names())
            }
            "stands" => {
                let principal = &self.principals[line.word(1)];
                format!(
                    "{:?}",
                    check_revocation(&self.state, principal, None, self.now_ms)
                )
            }
            "grants" => self.grants(line),
            "groups" => {
                let who = &self.principals[line.word(1)];
                let all = self
                    .state
                    .groups_of_user(who.app, who.user.as_ref(), who.claimed());
                let way = |group: &&Text| {
                    let way =
                        self.state
                            .way_to_group(who.app, who.user.as_ref(), who.claimed(), group);
                    way.expect("a way").join(">")
                };
                format!("{:?}", all.iter().map(way).collect::<Vec<_>>())
            }
            "counts" => self.counts(),
            "audit" => self.audit(),
            "next" => format!("{:?}", next_expiry(&self.state)),
            "reopen" => {
                let bytes = snapshot(&self.state);
                let figure = fingerprint(&self.state);
                self.state = restore(&bytes).expect("its own snapshot");
                assert_eq!(fingerprint(&self.state), figure);
                assert_eq!(snapshot(&self.state), bytes);
                "same".to_owned()
            }
            other => panic!("no such word: {other}"),
        }
    }

    fn question<'a>(&'a self, line: &Line<'a>) -> Question<'a> {
        let principal = self
            .principals
            .get(line.word(1))
            .unwrap_or_else(|| panic!("nobody called {}", line.word(1)));
        let (resource, name) = match line.word(2).split_once('/') {
            Some(("user", rest)) => (Resource::User, rest),
            Some(("group", rest)) => (Resource::Group, rest),
            _ => (Resource::Channel, line.word(2)),
        };
        Question {
            principal,
            proof: None,
            speaks_for: None,
            resource,
            name,
            operations: operations(line.words.get(3).copied().unwrap_or("subscribe")),
            now_ms: self.now_ms,
        }
    }

    /// `as NAME APP [key=|named= under= user= token= revkey= expires= issued=|seen= proof=KEY cap=RIGHTS]`
    fn principal(&self, line: &Line<'_>) -> Principal {
        let seen = line.millis("seen").unwrap_or(self.state.revision);
        let issued = line.millis("issued").map_or(Issued::Seen(seen), Issued::At);
        let proof = line.text("proof").map(|key| Proof {
            key,
            issued,
            expires_ms: line.millis("expires"),
            capability: Capability {
                rights: rights(line.option("cap").unwrap_or_default()),
            },
            vouched: line.option("vouched").map(|text| self.vouched(line, text)),
        });
        Principal {
            app: app(line.word(2)),
            vouched_by: line.text("key").map_or_else(
                || line.text("named").map(Voucher::Named),
                |key| Some(Voucher::Held(key)),
            ),
            opened_under: line.text("under"),
            user: line.text("user"),
            token: line.text("token"),
            revocation_key: line.text("revkey"),
            issued,
            expires_ms: line.millis("expires"),
            proof,
        }
    }

    /// `PROVIDER,KID,ALGORITHM,AUDIENCE`, as its key is found now.
    fn vouched(&self, line: &Line<'_>, text: &str) -> Arc<Vouched> {
        let parts: Vec<&str> = text.split(',').collect();
        let [provider, kid, algorithm, audience] = parts[..] else {
            panic!("no vouching: {text}");
        };
        let known = self.state.provider(app(line.word(2)), provider);
        let key = known.and_then(|known| known.key(kid));
        Arc::new(Vouched {
            provider: provider.into(),
            kid: kid.into(),
            since: key.map_or(0, |key| key.since),
            algorithm: Algorithm::named(algorithm).expect("an algorithm"),
            audience: audience.into(),
            groups: line.option("groups").map_or_else(Arc::default, |text| {
                text.split(',').map(Into::into).collect()
            }),
        })
    }

    fn grants(&self, line: &Line<'_>) -> String {
        let subject = subject(line.word(2));
        let mut out = String::new();
        for (key, grant) in self.state.grants_of(app(line.word(1)), &subject) {
            let (resource, issuer) = (key.resource, &grant.issuer);
            write!(
                out,
                "\n  {resource:?} {} {:?} ends {:?} by {issuer:?} at {}",
                key.pattern,
                grant.operations.names(),
                grant.expires_ms,
                grant.revision
            )
            .unwrap();
        }
        out
    }

    /// What was recorded, each record on a line of its own.
    fn audit(&self) -> String {
        let audit = &self.state.audit;
        let mut verifier = AuditVerifier::default();
        let mut text = format!("{} of {}", audit.len(), audit.last_index());
        for index in audit.first_index()..=audit.last_index() {
            let (shown, way) = audit.proof(index).expect("kept");
            assert_eq!(verifier.add(&shown), Ok(()));
            assert_eq!(proven_head(&shown, &way), audit.head());
            let AuditRecord {
                index,
                revision,
                time_ms,
                actor,
                app,
                kind,
                touched,
                narrowed,
                reason,
                subjects,
                effects,
            } = &shown.record;
            let pairs = |pairs: &[(String, String)]| {
                let pair = |(name, value): &(String, String)| format!("{name} {value}");
                pairs.iter().map(pair).collect::<Vec<_>>().join("; ")
            };
            let app = app.map_or("-".to_owned(), |app| app.to_string());
            let took = if *narrowed { "took" } else { "gave" };
            write!(
                text,
                "\n  {index} @{revision} {time_ms} app {app} by {actor}: {kind} [{}] {took} {touched} -> [{}] {}",
                pairs(subjects),
                pairs(effects),
                reason.as_deref().unwrap_or("-")
            )
            .unwrap();
        }
        if audit.is_empty() {
            return text;
        }
        assert_eq!(
            verifier.ends_with(Some(audit.last_index()), audit.head()),
            Ok(())
        );
        text
    }

    fn counts(&self) -> String {
        let state = &self.state;
        format!(
            "apps {} aliases {} keys {} grants {} tokens {} revocations {} blocks {} nonces {} \
             members {} requests {}",
            state.apps.len(),
            state.aliases.len(),
            state.keys.len(),
            state.grants.len(),
            state.tokens.len(),
            state.revocations.len(),
            state.blocks.len(),
            state.nonces.len(),
            state.members.len(),
            state.requests.len()
        )
    }
}

fn show(outcome: &Outcome) -> String {
    let mut out = format!("@{} {:?}\n", outcome.revision, outcome.reply);
    for effect in &outcome.effects {
        writeln!(out, "  {effect:?}").unwrap();
    }
    out
}
