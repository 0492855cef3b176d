//! `GET /channels/{channel}/messages` and `…/presence/history`: what was said and who came and went, in pages.

use super::call::{Answer, Call, failed};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::member::{self, PresenceMessage};
use crate::adapters::ably::message::Message;
use crate::adapters::ably::position::{self, TICKS_PER_MS};
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Position, Timetoken};
use crate::core::message::{PresenceChange, Publication};
use crate::core::session::HistoryPage;
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// Most pages read to fill one that is answered.
const MAX_PAGES_READ: usize = 32;
/// Messages of one that looks for what lies before an attachment.
const PAGE_MESSAGES: u32 = 1_000;

/// What is asked for.
#[derive(Clone, Debug)]
struct Wanted {
    start: u64,
    end: u64,
    backwards: bool,
    limit: u32,
    /// Beyond this timetoken of an earlier page.
    cursor: Option<u64>,
    until: Option<Position>,
    until_text: Option<String>,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, Fault> {
        let bad = |name: &str| Fault::new(40003, 400, format!("{name} is not usable"));
        let number = |name: &str| match call.value(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| bad(name)),
        };
        let limit = number("limit")?.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(bad("limit"));
        }
        let backwards = match call.value("direction") {
            None | Some("backwards") => true,
            Some("forwards") => false,
            Some(_) => return Err(bad("direction")),
        };
        let until_text = call
            .value("from_serial")
            .or_else(|| call.value("fromSerial"));
        let until = until_text
            .map(|text| position::parse_channel_serial(text).ok_or_else(|| bad("from_serial")));
        let (start, end) = (number("start")?, number("end")?);
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(bad("start"));
        }
        Ok(Self {
            start: start.unwrap_or(0),
            end: end.unwrap_or(u64::MAX),
            backwards,
            limit: u32::try_from(limit).unwrap_or(1000),
            cursor: number("cursor")?,
            until: until.transpose()?,
            until_text: until_text.map(str::to_owned),
        })
    }

    fn page(&self, limit: u32, cursor: Option<u64>) -> HistoryPage {
        let mut after = self.start.saturating_mul(TICKS_PER_MS).saturating_sub(1);
        let mut until = match self.end {
            u64::MAX => u64::MAX,
            end => end
                .saturating_add(1)
                .saturating_mul(TICKS_PER_MS)
                .saturating_sub(1),
        };
        match (cursor, self.backwards) {
            (Some(cursor), true) => until = until.min(cursor.saturating_sub(1)),
            (Some(cursor), false) => after = after.max(cursor),
            (None, _) => {}
        }
        HistoryPage {
            after,
            until,
            limit,
            backwards: self.backwards,
        }
    }

    /// `word` is the last segment of the path.
    fn link(&self, word: &str, rel: &str, cursor: Option<u64>) -> String {
        let direction = if self.backwards {
            "backwards"
        } else {
            "forwards"
        };
        let mut query = format!("direction={direction}&limit={}", self.limit);
        if self.start > 0 {
            query += &format!("&start={}", self.start);
        }
        if self.end < u64::MAX {
            query += &format!("&end={}", self.end);
        }
        if let Some(text) = &self.until_text {
            query += &format!("&from_serial={}", text.replace(':', "%3A"));
        }
        if let Some(cursor) = cursor {
            query += &format!("&cursor={cursor}");
        }
        format!("<./{word}?{query}>; rel=\"{rel}\"")
    }
}

/// Answers with as much as was asked for, and says where the next page is; `page` holds one more if there is one.
fn answered<T, I: serde::Serialize>(
    answer: Answer,
    word: &str,
    found: Result<(Wanted, Vec<Arc<T>>), Fault>,
    at: impl Fn(&T) -> Timetoken,
    item: impl Fn(&T) -> Option<I>,
) -> HttpResponse {
    let (wanted, mut page) = match found {
        Err(fault) => return failed(&fault, answer.0),
        Ok(found) => found,
    };
    let limit = wanted.limit as usize;
    let more = page.len() > limit;
    page.truncate(limit);
    let mut links = vec![
        wanted.link(word, "first", None),
        wanted.link(word, "current", wanted.cursor),
    ];
    if let (true, Some(last)) = (more, page.last()) {
        links.push(wanted.link(word, "next", Some(at(last))));
    }
    let items: Vec<I> = page.iter().filter_map(|one| item(one)).collect();
    answer.linked(200, &items, &links)
}

pub(super) async fn messages(
    request: HttpRequest,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    let found = page(&request, &name, &broker).await;
    let at = |one: &Publication| one.timetoken;
    answered(answer, "messages", found, at, |one| {
        Some(Message::of(one, answer.0))
    })
}

pub(super) async fn presence(
    request: HttpRequest,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    let found = changes(&request, &name, &broker).await;
    let at = |one: &PresenceChange| one.timetoken;
    answered(answer, "history", found, at, |one| {
        PresenceMessage::change(one, answer.0)
    })
}

async fn changes(
    request: &HttpRequest,
    name: &str,
    broker: &Broker,
) -> Result<(Wanted, Vec<Arc<PresenceChange>>), Fault> {
    let (channel, wanted) = asked(request, name, broker).await?;
    // A leave with data of its own is two changes, of which one is shown.
    let step = (wanted.limit + 1).saturating_mul(2);
    let read = |page| broker.changes(&channel, page);
    let found = gather(&wanted, step, read, |one| one.timetoken, member::is_shown).await?;
    Ok((wanted, found))
}

/// Who asks may; and for what.
async fn asked(
    request: &HttpRequest,
    name: &str,
    broker: &Broker,
) -> Result<(Arc<ChannelKey>, Wanted), Fault> {
    let call = Call::admit(request, broker).await?;
    let channel = call.channel(name)?;
    let wanted = Wanted::read(&call)?;
    call.authorize(&channel, Operations::HISTORY).await?;
    Ok((channel, wanted))
}

async fn page(
    request: &HttpRequest,
    name: &str,
    broker: &Broker,
) -> Result<(Wanted, Vec<Arc<Publication>>), Fault> {
    let (channel, wanted) = asked(request, name, broker).await?;
    let limit = wanted.limit + 1;
    // What came after an attachment is read over: in large steps.
    let step = wanted.until.map_or(limit, |_| limit.max(PAGE_MESSAGES));
    let before = |one: &Publication| {
        let place = one.position;
        wanted
            .until
            .is_none_or(|at| place.epoch == at.epoch && place.seq <= at.seq)
    };
    let read = |page| broker.history(&channel, page);
    let found = gather(&wanted, step, read, |one| one.timetoken, before).await?;
    Ok((wanted, found))
}

/// One more than asked for, if there is one, of what is to be shown. What is not to be shown is dropped *before* a page
/// is cut, so that pages are full.
async fn gather<T>(
    wanted: &Wanted,
    step: u32,
    read: impl AsyncFn(HistoryPage) -> Result<Vec<Arc<T>>, Refusal>,
    at: impl Fn(&T) -> Timetoken,
    shown: impl Fn(&T) -> bool,
) -> Result<Vec<Arc<T>>, Fault> {
    let limit = wanted.limit as usize + 1;
    let mut found = Vec::new();
    let mut cursor = wanted.cursor;
    for _ in 0..MAX_PAGES_READ {
        let page = read(wanted.page(step, cursor)).await?;
        let whole = page.len() >= step as usize;
        cursor = page.last().map(|one| at(one));
        found.extend(page.into_iter().filter(|one| shown(one)));
        if !whole || found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;

    /// Pages of 1 to 100, of which every number but those in `hidden` is shown.
    async fn walk(limit: u32, backwards: bool, hidden: fn(u64) -> bool) -> (Vec<Vec<u64>>, u32) {
        let reads = Cell::new(0);
        let read = async |page: HistoryPage| {
            reads.set(reads.get() + 1);
            let fits = |one: &u64| *one > page.after && *one <= page.until;
            let mut all: Vec<u64> = (1..=100).filter(fits).collect();
            if page.backwards {
                all.reverse();
            }
            all.truncate(page.limit as usize);
            Ok(all.into_iter().map(Arc::new).collect())
        };
        let mut wanted = Wanted {
            start: 0,
            end: u64::MAX,
            backwards,
            limit,
            cursor: None,
            until: None,
            until_text: None,
        };
        let mut pages = Vec::new();
        loop {
            let step = (limit + 1) * 2;
            let shown = |one: &u64| !hidden(*one);
            let found = gather(&wanted, step, read, |one| *one, shown)
                .await
                .unwrap();
            let mut page: Vec<u64> = found.iter().map(|one| **one).collect();
            let more = page.len() > limit as usize;
            page.truncate(limit as usize);
            wanted.cursor = page.last().copied();
            pages.push(page);
            if !more {
                return (pages, reads.get());
            }
        }
    }

    #[tokio::test]
    async fn pages_are_full_whatever_is_left_out() {
        for hidden in [
            (|_| false) as fn(u64) -> bool,
            |one| one % 2 == 0,
            |one| (20..70).contains(&one),
        ] {
            for (limit, backwards) in [(1, true), (1, false), (7, true), (19, false), (100, true)] {
                let (pages, _) = walk(limit, backwards, hidden).await;
                let mut expected: Vec<u64> = (1..=100).filter(|one| !hidden(*one)).collect();
                if backwards {
                    expected.reverse();
                }
                let full = expected.chunks(limit as usize).map(<[u64]>::to_vec);
                assert_eq!(pages, full.collect::<Vec<_>>(), "{limit} {backwards}");
            }
        }
        // Half of them left out costs one read a page, and one for what is behind the last.
        let (pages, reads) = walk(10, true, |one| one % 2 == 0).await;
        assert!(reads as usize <= pages.len() + 1, "{reads}");
    }
}
