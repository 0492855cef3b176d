//! `POST …/users/{user}/terminate_connections`: ends a user's connections on every node.
//!
//! The answer is given when they are gone, not when they were asked to go.

use super::admit::Call;
use super::channel::segment;
use super::fault::Fault;
use super::{Empty, ok};
use crate::core::authority::{BarrierMode, Command, RequestId, Target};
use crate::core::broker::Broker;
use actix_web::{HttpRequest, HttpResponse, web};

/// Ends them, and waits until every node that may still be serving has done so.
pub(super) async fn post(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&[])?;
    let user = segment(&request, "user")?;
    let command = Command::Disconnect {
        app: call.app.id,
        issuer: call.key.issuer(),
        target: Target::User(user.into()),
    };
    let request = RequestId(rand::random());
    broker
        .authority
        .write(request, command, BarrierMode::All)
        .await?;
    ok(&Empty {})
}
