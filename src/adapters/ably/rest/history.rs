//! `GET /channels/{channel}/messages` and `…/presence/history`: what was said and who came and went, in pages.
//!
//! **Must never know:** how history is kept.

use super::call::{Answer, Call, failed};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::member::PresenceMessage;
use crate::adapters::ably::message::Message;
use crate::adapters::ably::position::{self, TICKS_PER_MS};
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::connection::HistoryPage;
use crate::core::ids::{ChannelKey, Position, Timetoken};
use crate::core::message::{PresenceChange, Publication};
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// Most pages read to find what lies before an attachment.
const READS: usize = 32;
/// Messages of such a page.
const STEP: u32 = 1_000;

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
    let page = wanted.page(wanted.limit + 1, wanted.cursor);
    let found = broker.changes(&channel, page).await?;
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

/// One more than asked for, if there is one.
async fn page(
    request: &HttpRequest,
    name: &str,
    broker: &Broker,
) -> Result<(Wanted, Vec<Arc<Publication>>), Fault> {
    let (channel, wanted) = asked(request, name, broker).await?;
    let limit = wanted.limit + 1;
    // What came after an attachment is read over: in large steps.
    let step = wanted.until.map_or(limit, |_| limit.max(STEP));
    let mut found = Vec::new();
    let mut cursor = wanted.cursor;
    for _ in 0..READS {
        let page = broker.history(&channel, wanted.page(step, cursor)).await?;
        let read = page.len();
        cursor = page.last().map(|one| one.timetoken);
        found.extend(page.into_iter().filter(|one| {
            let place = one.position;
            wanted
                .until
                .is_none_or(|at| place.epoch == at.epoch && place.seq <= at.seq)
        }));
        if read < step as usize || found.len() >= limit as usize {
            break;
        }
    }
    found.truncate(limit as usize);
    Ok((wanted, found))
}
