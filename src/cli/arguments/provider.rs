//! What can be typed about identity providers.

use super::super::duration::millis;
use super::SsfCommand;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with providers.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // Made once per process; clap takes no box here.
pub enum ProviderCommand {
    /// Makes a provider: its tokens sign users in, up to what a key may do
    Create {
        /// App id
        app: u64,
        /// Its id: letters, digits, - and _
        provider: String,
        /// What it is.
        #[command(flatten)]
        args: ProviderArgs,
    },
    /// Lists an app's providers
    List {
        /// App id
        app: u64,
    },
    /// Shows a provider and its keys
    Show {
        /// App id
        app: u64,
        /// Its id
        provider: String,
    },
    /// Changes a provider; who stands on what goes is cut before this returns
    Update {
        /// App id
        app: u64,
        /// Its id
        provider: String,
        /// On or off
        #[arg(long)]
        enabled: Option<bool>,
        /// What it is.
        #[command(flatten)]
        args: ProviderArgs,
    },
    /// Fetches a provider's keys now; who stands on one that left is cut before this returns
    Refresh {
        /// App id
        app: u64,
        /// Its id
        provider: String,
    },
    /// Security events that a provider tells (Shared Signals)
    #[command(subcommand)]
    Ssf(SsfCommand),
    /// Removes a provider, and cuts whoever it vouched for
    Delete {
        /// App id
        app: u64,
        /// Its id
        provider: String,
    },
}

/// A provider, as far as it is given.
#[derive(Args)]
pub struct ProviderArgs {
    /// Its name in tokens (iss)
    #[arg(long)]
    pub issuer: Option<String>,
    /// Whom its tokens are for (aud); all of them, when changed
    #[arg(long = "audience")]
    pub audiences: Vec<String>,
    /// How it signs: RS256, PS256, ES256, ES384, EdDSA; RS256 when left out
    #[arg(long = "algorithm")]
    pub algorithms: Vec<String>,
    /// File with its key set (JWKS)
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// Address of its key set, in place of a file
    #[arg(long, conflicts_with = "keys")]
    pub jwks_uri: Option<String>,
    /// Address of an issuer whose metadata name the key set's, in place of both
    #[arg(long, conflicts_with_all = ["keys", "jwks_uri"])]
    pub discovery: Option<String>,
    /// Key id: its tokens never exceed what that key may do
    #[arg(long)]
    pub ceiling: Option<String>,
    /// What tokens may do by themselves: grants (nothing), ceiling, authorization_details, x-ably-capability
    #[arg(long)]
    pub rights: Option<String>,
    /// Claim that is the user; sub when left out
    #[arg(long)]
    pub user_claim: Option<String>,
    /// Claim that is the session; sid when left out
    #[arg(long)]
    pub session_claim: Option<String>,
    /// Claim that lists the user's groups, or a path of names with dots between them; "" = none
    #[arg(long)]
    pub groups_claim: Option<String>,
    /// How far its clock may be off: 5s
    #[arg(long, value_parser = millis)]
    pub leeway: Option<u64>,
}
