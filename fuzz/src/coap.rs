//! A whole CoAP server behind established sessions, and a client with one of them that does its worst.

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/support/coap_hostile.rs"]
pub mod hostile;
#[path = "../../tests/support/coap_peer.rs"]
mod peer;
#[path = "../../tests/support/coap.rs"]
mod support;
