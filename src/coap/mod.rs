//! CoAP over any `embedded-nal-async` datagram socket: a server that drives a [`coap_handler::Handler`], and a client
//! (RFC 7252).
//!
//! Both speak to the socket traits alone, so they run over this crate's DTLS sockets (`coaps`, port 5684) and over sockets
//! without security (`coap`, port 5683), which a client takes as they are and a server in [`PlainUdp`]. Whom a server speaks with it asks of
//! [`PeerLookup`](crate::PeerLookup): exchanges belong to one DTLS session and epoch (§9.1.1), not to an address, and a
//! handler can learn the identity that the peer proved, through [`ForPeer`].
//!
//! ```
//! use coap_handler_implementations::{HandlerBuilder, ReportingHandlerBuilder, SimpleRendered, new_dispatcher};
//! use dtls_psk::{SessionUdp, Timer, coap};
//! use embedded_nal_async::ConnectedUdp;
//! use rand_core::TryCryptoRng;
//!
//! async fn serve(socket: &mut impl SessionUdp, timer: impl Timer, rng: impl TryCryptoRng) {
//!     let mut resources = new_dispatcher().at(&["hello"], SimpleRendered("Hello")).with_wkc();
//!     let error = coap::Server::new(socket, timer, rng).run(&mut resources).await;
//!     // `run` ends only when the socket itself fails.
//!     println!("the server stopped: {error}");
//! }
//!
//! async fn switch_on<S: ConnectedUdp>(
//!     socket: &mut S,
//!     timer: impl Timer,
//!     rng: impl TryCryptoRng,
//! ) -> Result<(), coap::Error<S::Error>> {
//!     let mut client = coap::Client::new(socket, timer, rng);
//!     let reply = client.put("/led", b"1").await?;
//!     if !reply.code().is_success() {
//!         println!("{}: {:?}", reply.code(), reply.diagnostic());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What is where
//!
//! | | here |
//! |---|---|
//! | message format (RFC 7252 §3) | [`Message`], [`Type`], [`Code`], [`Token`] |
//! | transmission parameters (§4.8) | [`TransmissionParameters`] |
//! | deduplication (§4.5), RST, ACK, requests and responses (§4, §5) | [`Server`], [`Client`] |
//! | the same for a main loop, without an executor | `PolledServer`, `PolledClient` (feature `embedded-nal`) |
//! | several requests at once, NSTART (§4.7) | [`Requests`] |
//! | observation (RFC 7641) | [`Changes`], [`ObserveParameters`]; [`Client::observe`] |
//! | blocks (RFC 7959) | a server has nothing to do for downloads; [`Upload`]. A client has nothing to do; [`Client::in_blocks`] |
//! | who may do what, and freshness (RFC 9175) | [`Policy`], [`Rule`], [`Access`]; [`ForPeer`] |
//!
//! Everything is bounded at compile time, or by what is lent: see [`Server`](Server#sizes). Nothing is shared between two
//! sessions: a response, a notification, an upload belongs to the session that asked for it.
//!
//! A peer whose address has changed (RFC 9146) and that does not answer the check of RFC 9853 is asked by an Echo option to show
//! that it receives there (RFC 9175 §2.4), before it gets more than three times the bytes that came from there.
//!
//! # What is not here
//!
//! Requests to multicast addresses (§8) are ignored, and nothing is proxied (5.05). The response to an unsafe method has to fit
//! into one message.

// What needs no I/O, in alphabetical order: from the wire format to both ends of an exchange.
mod answer;
mod block;
mod changes;
mod code;
mod counters;
mod deduplication;
mod echo;
mod error;
mod exchange;
mod handler;
mod message;
mod message_ids;
mod notifications;
mod observers;
mod option_format;
mod options;
mod parameters;
mod policy;
mod reception;
mod render;
mod reply;
mod request;
mod responder;
mod retransmission;
mod settings;
mod share;
mod source;
mod transfer;
mod upload;
mod uri;
mod watch;
mod well_known;
mod writer;

// And what has a socket.
mod blocks;
mod client;
mod observation;
mod plain;
#[cfg(feature = "embedded-nal")]
mod polled_client;
#[cfg(feature = "embedded-nal")]
mod polled_server;
mod requests;
mod server;

pub use blocks::{Blocks, Part, Progress};
pub use changes::{Changes, Observable};
pub use client::Client;
pub use code::Code;
pub use counters::Counters;
pub use error::Error;
pub use handler::ForPeer;
pub use message::{Malformed, Message, MessageOption, Options, Token, Type};
pub use observation::Observation;
pub use observers::ObserveParameters;
pub use parameters::TransmissionParameters;
pub use plain::PlainUdp;
pub use policy::{Access, Methods, Policy, RequestPath, Rule};
#[cfg(feature = "embedded-nal")]
pub use polled_client::{Pending, PolledClient};
#[cfg(feature = "embedded-nal")]
pub use polled_server::PolledServer;
pub use reply::Reply;
pub use request::Request;
pub use requests::Requests;
pub use server::Server;
pub use upload::Upload;
pub use well_known::WellKnownCore;
