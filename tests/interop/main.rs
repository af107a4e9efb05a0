//! Against real peers: OpenSSL, GnuTLS, libcoap, Mbed TLS, wolfSSL, tinydtls, aiocoap and Wireshark's decoder, all on the
//! loopback address. `cargo xtask interop` installs them; one that is missing fails its tests.

mod aiocoap;
mod bundled;
mod coap;
mod control;
mod driver;
mod dtls13;
mod fragments;
mod gnutls;
mod libcoap;
mod master_secret;
mod matrix;
mod openssl;
mod ours;
mod peers;
mod plain;
mod relay;
mod server_names;
mod suite;
mod tshark;
mod tshark13;
mod weather;
