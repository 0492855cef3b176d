//! `/v1/cluster`: who is in it and how they are; adding, promoting, demoting, draining, replacing and removing nodes;
//! a backup. Operators only.

use super::app::missing;
use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params};
use super::resource;
use super::text::name;
use super::write::answer;
use crate::core::authority::{
    ClusterStatus, DiskSpace, Freshness, MemberState, NodeChange, NodeId, NodeStatus,
};
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of a backup handed to the socket at once.
const PIECE: usize = 64 * 1024;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/cluster").get(status))
        .service(resource("/cluster/nodes").post(add))
        .service(resource("/cluster/nodes/{node}").delete(remove))
        .service(resource("/cluster/nodes/{node}/promote").post(promote))
        .service(resource("/cluster/nodes/{node}/demote").post(demote))
        .service(resource("/cluster/nodes/{node}/drain").post(drain))
        .service(resource("/cluster/nodes/{node}/replace").post(replace))
        .service(resource("/cluster/backup").get(backup));
}

async fn status(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    Params::none(&call)?;
    let status = call.broker.authority.survey().await;
    let status = status.ok_or_else(|| missing("cluster"))?;
    Ok(answer(StatusCode::OK, status.applied, status_json(&status)))
}

/// A node to add.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIn {
    /// Its number, never used before.
    pub node: u64,
    /// Where its peers reach it, `host:port`.
    pub peer_addr: String,
    /// Also where that leaves no majority of voters that answers.
    #[serde(default)]
    pub force: bool,
}

impl NodeIn {
    /// Checked.
    ///
    /// # Errors
    /// `bad_value` or `bad_name`.
    pub fn read(&self) -> Result<(NodeId, crate::core::ids::Text), ApiError> {
        let addr = name("peer_addr", &self.peer_addr)?;
        let port = addr
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        match (self.node, port) {
            (0, _) => Err(ApiError::new(Code::BadValue, "`node` is at least 1")),
            (_, None) => Err(ApiError::new(Code::BadValue, "`peer_addr` is host:port")),
            (node, Some(_)) => Ok((NodeId(node), addr)),
        }
    }
}

async fn add(call: Call, body: Body<NodeIn>) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let (node, peer_addr) = body.value.read()?;
    let change = NodeChange::Add { node, peer_addr };
    make(&call, change, body.value.force).await?;
    changed(&call, StatusCode::CREATED).await
}

/// A node that follows votes from now on.
async fn promote(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    by_number(&call, &path, |node| NodeChange::Promote { node }).await
}

/// A node that votes only follows from now on.
async fn demote(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    by_number(&call, &path, |node| NodeChange::Demote { node }).await
}

async fn remove(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    by_number(&call, &path, |node| NodeChange::Remove { node }).await
}

async fn by_number(
    call: &Call,
    path: &str,
    change: impl FnOnce(NodeId) -> NodeChange,
) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let mut params = Params::of(&call.http)?;
    let force = params.flag("force")?;
    params.finish()?;
    make(call, change(node_id(path)?), force).await?;
    changed(call, StatusCode::OK).await
}

async fn make(call: &Call, change: NodeChange, force: bool) -> Result<(), ApiError> {
    Ok(call.broker.authority.change_nodes(change, force).await?)
}

fn node_id(text: &str) -> Result<NodeId, ApiError> {
    let bad = |_| ApiError::new(Code::NoSuchNode, "a node is a number");
    text.parse().map(NodeId).map_err(bad)
}

/// The node gets no new channels, tells its clients to go elsewhere and leaves leading to others; it stays a
/// member until it is stopped, and is up again when it is started again.
async fn drain(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    Params::none(&call)?;
    call.broker.authority.drain_node(node_id(&path)?).await?;
    changed(&call, StatusCode::OK).await
}

/// The new one first: at no time do fewer nodes vote than before.
async fn replace(
    call: Call,
    path: web::Path<String>,
    body: Body<NodeIn>,
) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let old = node_id(&path)?;
    let (node, peer_addr) = body.value.read()?;
    if node == old {
        let message = "a number is never used again: give the new node another one";
        return Err(ApiError::new(Code::BadValue, message));
    }
    let force = body.value.force;
    make(&call, NodeChange::Add { node, peer_addr }, force).await?;
    make(&call, NodeChange::Remove { node: old }, force).await?;
    changed(&call, StatusCode::OK).await
}

/// Everything that is agreed, in one file that proves its wholeness. It holds every secret.
async fn backup(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    Params::none(&call)?;
    let bytes = Bytes::from(call.broker.authority.backup().await?);
    let length = bytes.len();
    let pieces = (0..length).step_by(PIECE).map(move |from| {
        Ok::<_, std::convert::Infallible>(bytes.slice(from..length.min(from + PIECE)))
    });
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header(("Cache-Control", "no-store"))
        .no_chunking(length as u64)
        .streaming(futures_util::stream::iter(pieces)))
}

async fn changed(call: &Call, status: StatusCode) -> Result<HttpResponse, ApiError> {
    let seen = call.broker.authority.survey().await;
    let seen = seen.ok_or_else(|| missing("cluster"))?;
    Ok(answer(status, seen.applied, status_json(&seen)))
}

/// The cluster as `/v1` shows it.
#[must_use]
pub fn status_json(status: &ClusterStatus) -> Value {
    let (fresh, age) = freshness(status.freshness);
    let node = |node: &NodeStatus| node_json(node, status.leader);
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    json!({
        "node": status.node.0,
        "cluster": &*status.cluster,
        "term": status.term,
        "version": status.version,
        "leader": status.leader.map(|leader| leader.0),
        "last_leader": status.last_leader.map(|leader| leader.0),
        "applied": status.applied,
        "enforced": status.enforced,
        "fresh": fresh,
        "view_age_ms": age,
        "clock_off_ms": status.clock_off_ms,
        "disk": match status.disk {
            DiskSpace::Enough => "enough",
            DiskSpace::Short => "short",
            DiskSpace::Full => "full",
        },
        "nodes": nodes,
    })
}

/// Whether the view is within its lease, and the age of the proof in milliseconds; none = never proven.
#[must_use]
pub fn freshness(freshness: Freshness) -> (bool, Option<u64>) {
    let ms = |age: std::time::Duration| Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    match freshness {
        Freshness::Fresh(age) => (true, ms(age)),
        Freshness::Stale(age) => (false, ms(age)),
        Freshness::Never => (false, None),
    }
}

fn node_json(node: &NodeStatus, leader: Option<NodeId>) -> Value {
    let state = node.member.as_ref().map(|member| match member.state {
        MemberState::Up => "up",
        MemberState::Down => "down",
        MemberState::Draining => "draining",
    });
    json!({
        "node": node.node.0,
        "role": if node.voter { "voter" } else { "learner" },
        "leads": leader == Some(node.node),
        "voter": node.voter,
        "reachable": node.reachable,
        "peer_addr": &*node.peer_addr,
        "public_url": node.member.as_ref().map(|member| &*member.public_url),
        "state": state,
        "epoch": node.member.as_ref().map(|member| member.epoch),
        "matched": node.matched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_number_and_an_address() {
        let read = |node, addr: &str| {
            let node = NodeIn {
                node,
                peer_addr: addr.into(),
                force: false,
            };
            node.read().is_ok()
        };
        assert!(read(4, "10.0.0.4:7601") && read(4, "[::1]:7601"));
        assert!(!read(0, "a:1") && !read(4, "a") && !read(4, "a:99999"));
    }
}
