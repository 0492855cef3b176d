//! The state as bytes and back. The same state gives the same bytes on every node.
//!
//! `[format u8]` then frames `[section u8][length u32 LE][codec record]`, sections in order, each record a
//! bounded chunk of (key, value) pairs in key order; the last frame holds the number of records and a sum
//! over all frames before it. Derived indexes are not written.
//!
//! **Why chunks:** one encode of a million grants needs a second copy of all of it; a chunk needs only its own, and a
//! damaged length cannot ask for more than a chunk.

use super::audit::{Audit, AuditHead, Links};
use super::checksum::Sum;
use super::{Answered, Issuer, Millis, Requests, Revision, State, expiry, user_group};
use crate::codec;
use imbl::OrdMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Format of the whole; records below it carry the codec's version.
const FORMAT: u8 = 1;
/// Version of the records.
const RECORDS: u8 = 1;
/// Most bytes of one chunk, encoded.
const CHUNK_BYTES: u64 = 64 << 20;

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a version this one cannot read.
    #[error("snapshot format {0} is not known to this version")]
    Version(u8),
    /// The snapshot is damaged; the text says where.
    #[error("snapshot is damaged: {0}")]
    Damaged(String),
}

/// Sections. Numbers are stored; later ones stand where [`Section::ALL`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Head = 1,
    Apps = 2,
    Aliases = 3,
    Keys = 4,
    KeySuccessors = 5,
    Grants = 6,
    Tokens = 7,
    Revocations = 8,
    Blocks = 9,
    Nonces = 10,
    Members = 11,
    Departed = 12,
    Requests = 13,
    End = 14,
    Flags = 15,
    Groups = 16,
    Providers = 17,
    KeyFetches = 18,
    Memberships = 19,
    Signals = 20,
    Audit = 21,
    AuditRecords = 22,
}

impl Section {
    /// In the order in which they stand.
    const ALL: [Self; 22] = [
        Self::Head,
        Self::Apps,
        Self::Aliases,
        Self::Keys,
        Self::KeySuccessors,
        Self::Grants,
        Self::Tokens,
        Self::Revocations,
        Self::Blocks,
        Self::Nonces,
        Self::Members,
        Self::Departed,
        Self::Requests,
        Self::Flags,
        Self::Groups,
        Self::Providers,
        Self::KeyFetches,
        Self::Memberships,
        Self::Signals,
        Self::Audit,
        Self::AuditRecords,
        Self::End,
    ];

    /// Where it stands among the others.
    fn place(self) -> Option<usize> {
        Self::ALL.into_iter().position(|one| one == self)
    }

    /// Records of one chunk: few where one record may be large, so that a chunk stays under its bound.
    const fn chunk(self) -> usize {
        match self {
            Self::Head | Self::Audit | Self::End => 1,
            Self::Apps
            | Self::Keys
            | Self::Tokens
            | Self::Groups
            | Self::Providers
            | Self::Signals => 16,
            Self::AuditRecords => 256,
            Self::Grants => 4096,
            Self::Aliases
            | Self::KeySuccessors
            | Self::Revocations
            | Self::Blocks
            | Self::Nonces
            | Self::Members
            | Self::Departed
            | Self::Requests
            | Self::Flags
            | Self::KeyFetches
            | Self::Memberships => 1024,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    revision: Revision,
    time_ms: Millis,
    version: u16,
}

#[derive(Serialize, Deserialize)]
struct End {
    records: u64,
    sum: u64,
}

/// Encodes the whole state.
#[must_use]
pub fn snapshot(state: &State) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    let mut sum = Sum::default();
    let records = frames(state, &mut |frame| {
        sum.add(frame);
        bytes.extend_from_slice(frame);
    });
    let end = End {
        records,
        sum: sum.0,
    };
    frame(Section::End, &end, &mut |frame| {
        bytes.extend_from_slice(frame)
    });
    bytes
}

/// Hands out every frame but the last, in order; how many records they hold.
pub(super) fn frames(state: &State, out: &mut dyn FnMut(&[u8])) -> u64 {
    let head = Head {
        revision: state.revision,
        time_ms: state.time_ms,
        version: state.version,
    };
    frame(Section::Head, &head, out);
    let mut records = 0;
    records += chunks(Section::Apps, state.apps.iter(), out);
    records += chunks(Section::Aliases, state.aliases.iter(), out);
    records += chunks(Section::Keys, state.keys.iter(), out);
    records += chunks(Section::KeySuccessors, state.key_successors.iter(), out);
    records += chunks(Section::Grants, state.grants.iter(), out);
    records += chunks(Section::Tokens, state.tokens.iter(), out);
    records += chunks(Section::Revocations, state.revocations.iter(), out);
    records += chunks(Section::Blocks, state.blocks.iter(), out);
    records += chunks(Section::Nonces, state.nonces.iter(), out);
    records += chunks(Section::Members, state.members.iter(), out);
    records += chunks(Section::Departed, state.departed.iter(), out);
    records += chunks(Section::Requests, state.requests.iter(), out);
    records += chunks(Section::Flags, state.flags.iter(), out);
    records += chunks(Section::Groups, state.groups.iter(), out);
    records += chunks(Section::Providers, state.providers.iter(), out);
    records += chunks(Section::KeyFetches, state.key_fetches.iter(), out);
    records += chunks(Section::Memberships, state.memberships.iter(), out);
    records += chunks(Section::Signals, state.signals.iter(), out);
    records += chunks(Section::Audit, state.audit.written().into_iter(), out);
    records + chunks(Section::AuditRecords, state.audit.texts(), out)
}

fn chunks<T: Serialize>(
    section: Section,
    records: impl Iterator<Item = T>,
    out: &mut dyn FnMut(&[u8]),
) -> u64 {
    let mut count = 0;
    let mut chunk = Vec::new();
    for record in records {
        count += 1;
        chunk.push(record);
        if chunk.len() == section.chunk() {
            frame(section, &chunk, out);
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        frame(section, &chunk, out);
    }
    count
}

fn frame<T: Serialize>(section: Section, value: &T, out: &mut dyn FnMut(&[u8])) {
    // Cannot fail: limits keep every chunk under the bound. Were it to, the missing frame makes the
    // restore refuse (its records are counted), which is better than a panic in the state machine.
    let Ok(record) = codec::encode(RECORDS, value, CHUNK_BYTES) else {
        return;
    };
    let mut head = [section as u8, 0, 0, 0, 0];
    let length = u32::try_from(record.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    for (to, from) in head.iter_mut().skip(1).zip(length) {
        *to = from;
    }
    let mut frame = Vec::with_capacity(head.len() + record.len());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&record);
    out(&frame);
}

/// Rebuilds a state.
///
/// # Errors
/// When the bytes are damaged or of an unknown version.
pub fn restore(bytes: &[u8]) -> Result<State, SnapshotError> {
    let (format, mut rest) = bytes.split_first().ok_or_else(|| damaged("empty"))?;
    if *format != FORMAT {
        return Err(SnapshotError::Version(*format));
    }
    let mut state = State::default();
    let mut chain = Links::default();
    let mut sum = Sum::default();
    let mut records = 0;
    let mut last = None;
    while let Some((section, whole, record)) = next_frame(&mut rest)? {
        if last.is_some_and(|last: Section| section.place() < last.place())
            || (last.is_none()) != (section == Section::Head)
        {
            return Err(damaged("sections out of order"));
        }
        last = Some(section);
        if section == Section::End {
            let end: End = decode(record)?;
            let intact = end.sum == sum.0 && end.records == records && rest.is_empty();
            if !intact {
                return Err(damaged("the sum does not match"));
            }
            if !state.audit.ends_as(&chain) {
                return Err(damaged("the records of the audit do not make its chain"));
            }
            return finish(state);
        }
        sum.add(whole);
        records += match section == Section::Audit {
            true => read_audit(&mut state, &mut chain, record)?,
            false => read(&mut state, section, record)?,
        };
    }
    Err(damaged("it ends early"))
}

type Frame<'a> = (Section, &'a [u8], &'a [u8]);

/// The next frame: its section, all its bytes, its record.
fn next_frame<'a>(rest: &mut &'a [u8]) -> Result<Option<Frame<'a>>, SnapshotError> {
    let Some(([section, length @ ..], _)) = rest.split_first_chunk::<5>() else {
        return match rest.is_empty() {
            true => Ok(None),
            false => Err(damaged("a frame is cut off")),
        };
    };
    let section = Section::ALL
        .into_iter()
        .find(|known| *known as u8 == *section)
        .ok_or_else(|| damaged("an unknown section"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (whole, after) = rest
        .split_at_checked(length.saturating_add(5))
        .ok_or_else(|| damaged("a frame is cut off"))?;
    *rest = after;
    Ok(Some((section, whole, whole.get(5..).unwrap_or_default())))
}

fn read(state: &mut State, section: Section, record: &[u8]) -> Result<u64, SnapshotError> {
    match section {
        Section::Head => {
            let head: Head = decode(record)?;
            state.revision = head.revision;
            state.time_ms = head.time_ms;
            state.version = head.version;
            Ok(0)
        }
        Section::Apps => insert(&mut state.apps, record),
        Section::Aliases => insert(&mut state.aliases, record),
        Section::Keys => insert(&mut state.keys, record),
        Section::KeySuccessors => insert(&mut state.key_successors, record),
        Section::Grants => read_grants(state, record),
        Section::Tokens => insert(&mut state.tokens, record),
        Section::Revocations => insert(&mut state.revocations, record),
        Section::Blocks => insert(&mut state.blocks, record),
        Section::Nonces => insert(&mut state.nonces, record),
        Section::Members => insert(&mut state.members, record),
        Section::Departed => insert(&mut state.departed, record),
        Section::Flags => insert(&mut state.flags, record),
        Section::Requests => read_requests(&mut state.requests, record),
        Section::Groups => insert(&mut state.groups, record),
        Section::Providers => insert(&mut state.providers, record),
        Section::KeyFetches => insert(&mut state.key_fetches, record),
        Section::Memberships => insert(&mut state.memberships, record),
        Section::Signals => insert(&mut state.signals, record),
        Section::AuditRecords => read_audit_records(state, record),
        Section::Audit | Section::End => Ok(0),
    }
}

fn insert<K, V>(map: &mut OrdMap<K, V>, record: &[u8]) -> Result<u64, SnapshotError>
where
    K: Ord + Clone + DeserializeOwned,
    V: Clone + DeserializeOwned,
{
    let pairs: Vec<(K, V)> = decode(record)?;
    let count = pairs.len() as u64;
    for (key, value) in pairs {
        if map.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err(damaged("records out of order"));
        }
        map.insert(key, value);
    }
    Ok(count)
}

/// Grants of one subject stand together and share its text, as they did when they were made.
fn read_grants(state: &mut State, record: &[u8]) -> Result<u64, SnapshotError> {
    let pairs: Vec<(super::GrantKey, super::Grant)> = decode(record)?;
    let count = pairs.len() as u64;
    for (mut key, mut grant) in pairs {
        if let Some((last, before)) = state.grants.get_max() {
            if *last >= key {
                return Err(damaged("records out of order"));
            }
            if last.subject == key.subject {
                key.subject = last.subject.clone();
            }
            if before.issuer == grant.issuer {
                grant.issuer = before.issuer.clone();
            }
        }
        if let Issuer::Key(id) = &grant.issuer
            && let Some(issuer) = state.keys.get(id)
        {
            grant.issuer = Issuer::Key(issuer.id.clone());
        }
        state.grants.insert(key, grant);
    }
    Ok(count)
}

fn read_requests(requests: &mut Requests, record: &[u8]) -> Result<u64, SnapshotError> {
    let pairs: Vec<(u128, Answered)> = decode(record)?;
    let count = pairs.len() as u64;
    for (request, answer) in pairs {
        requests.append(request, answer);
    }
    Ok(count)
}

fn read_audit(state: &mut State, chain: &mut Links, record: &[u8]) -> Result<u64, SnapshotError> {
    let written: Vec<AuditHead> = decode(record)?;
    let count = written.len() as u64;
    for one in written {
        let opened = Audit::opened(one).ok_or_else(|| damaged("the audit's chain"))?;
        (state.audit, *chain) = opened;
    }
    Ok(count)
}

fn read_audit_records(state: &mut State, record: &[u8]) -> Result<u64, SnapshotError> {
    let texts: Vec<Vec<u8>> = decode(record)?;
    let count = texts.len() as u64;
    match texts.into_iter().all(|text| state.audit.reopen(text)) {
        true => Ok(count),
        false => Err(damaged("a record of the audit")),
    }
}

/// Checks what records say of each other (a revocation may outlive its app), then rebuilds the derived indexes.
fn finish(mut state: State) -> Result<State, SnapshotError> {
    let known = |app| state.apps.contains_key(app);
    let whole = state.keys.values().all(|key| known(&key.app))
        && state.aliases.values().all(known)
        && state
            .key_successors
            .values()
            .all(|successor| state.keys.contains_key(successor))
        && state.tokens.keys().all(|(app, _)| known(app))
        && state.blocks.keys().all(|(app, _)| known(app))
        && state.nonces.keys().all(|(app, ..)| known(app))
        && state.flags.keys().all(|(app, ..)| known(app))
        && state.groups.keys().all(|(app, _)| known(app))
        && state.providers.keys().all(|(app, _)| known(app))
        && state.memberships.keys().all(|(app, _)| known(app))
        && state
            .key_fetches
            .keys()
            .chain(state.signals.keys())
            .all(|of| state.providers.contains_key(of))
        && state.grants.keys().all(|key| known(&key.app));
    if !whole {
        return Err(damaged("a record names an app or key that is not there"));
    }
    expiry::rebuild(&mut state);
    match user_group::rebuild(&mut state) {
        true => Ok(state),
        false => Err(damaged("user groups are in themselves or out of order")),
    }
}

fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, SnapshotError> {
    codec::decode(RECORDS, record, CHUNK_BYTES).map_err(|error| damaged(&error.to_string()))
}

fn damaged(what: &str) -> SnapshotError {
    SnapshotError::Damaged(what.to_owned())
}
