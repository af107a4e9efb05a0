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
//! use dtls_psk::{PeerLookup, Timer, coap};
//! use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
//! use rand_core::TryCryptoRng;
//!
//! async fn serve(socket: &mut (impl UnconnectedUdp + PeerLookup), timer: impl Timer, rng: impl TryCryptoRng) {
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
//! | RFC 7252 | here |
//! |---|---|
//! | message format (§3) | [`Message`], [`Type`], [`Code`], [`Token`] |
//! | transmission parameters (§4.8) | [`TransmissionParameters`] |
//! | deduplication (§4.5), RST, ACK, requests and responses (§4, §5) | [`Server`], [`Client`] |
//! | several requests at once, NSTART (§4.7) | [`Requests`] |
#![cfg_attr(feature = "embedded-nal", doc = "| the same without an executor | [`PollClient`] |")]
//!
//! A client observes (RFC 7641) with [`Client::observe`]. What is longer than a message goes in blocks (RFC 7959) by itself, in both
//! directions, and step by step with [`Client::in_blocks`]. A server's Echo (RFC 9175) is answered, and the blocks of each payload
//! have a Request-Tag of their own.
//!
//! Everything is bounded at compile time: a [`Server`] has one buffer of `SIZE` bytes for the message at hand, remembers
//! `EXCHANGES` requests and up to `REPLIES` bytes of replies to them; a [`Client`] has two buffers of `SIZE` bytes.
//!
//! # What is not here
//!
//! Observe and block-wise transfer in a server. Both are refused in the ways that their RFCs provide for: an
//! Observe option is left to the handler, and, being elective, usually ignored; a Block2 option that asks for anything
//! but the first block, and any Block1 option, is answered with 4.02 before the handler sees it. Requests to multicast
//! addresses (§8) are ignored, and nothing is proxied (5.05).

// What needs no I/O, in alphabetical order: from the wire format to both ends of an exchange.
mod block;
mod code;
mod deduplication;
mod error;
mod exchange;
mod handler;
mod message;
mod message_ids;
mod option_format;
mod options;
mod parameters;
mod reply;
mod request;
mod responder;
mod transfer;
mod uri;
mod watch;
mod writer;

// And what has a socket.
mod blocks;
mod client;
mod observation;
mod plain;
#[cfg(feature = "embedded-nal")]
mod poll_client;
mod requests;
mod server;

pub use blocks::{Blocks, Part, Progress};
pub use client::Client;
pub use code::Code;
pub use error::Error;
pub use handler::ForPeer;
pub use message::{Malformed, Message, MessageOption, Options, Token, Type};
pub use observation::Observation;
pub use parameters::TransmissionParameters;
pub use plain::PlainUdp;
#[cfg(feature = "embedded-nal")]
pub use poll_client::{Pending, PollClient};
pub use reply::Reply;
pub use request::Request;
pub use requests::Requests;
pub use responder::Counters;
pub use server::Server;
