//! Row 31: what state fuzzing finds in other stacks. Both roles are given the messages of a handshake, and others, in
//! every order: early, repeated, missing, changed, in the clear and under keys of every kind. After each, everything that
//! can be seen of them is what a small model says, which is written from the RFCs.

/// Names the symbols once, for the type and for the list of all.
macro_rules! alphabet {
    ($(#[$what:meta])* pub enum $name:ident { $($(#[$doc:meta])* $symbol:ident,)* }) => {
        $(#[$what])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $symbol,)*
        }

        pub const ALL: &[$name] = &[$($name::$symbol,)*];
    };
}

mod client;
#[cfg(feature = "dtls13")]
mod client13;
mod course;
mod keys;
mod outcome;
mod server;
#[cfg(feature = "dtls13")]
mod server13;
#[cfg(feature = "resumption")]
mod shelf;
#[path = "../support/mod.rs"]
mod support;
mod walk;

use client::Client;
use course::Pace;
use server::Server;
use walk::{every_sequence, random_sequences};

#[test]
fn a_server_in_every_order() {
    let slow = || Server::new(Pace::Slow);
    let tally = every_sequence("server", slow, &[], &server::MOST, 5);
    assert!(tally.established > 0);
    every_sequence("server, all symbols", slow, &[], server::ALL, 3);
    for beginning in server::BEGINNINGS {
        every_sequence(&format!("server after {beginning:?}"), slow, beginning, &server::MOST, 4);
        for pace in [Pace::Slow, Pace::Fast] {
            let what = format!("{pace:?} server after {beginning:?}, all symbols");
            every_sequence(&what, || Server::new(pace), beginning, server::ALL, 3);
        }
    }
}

#[test]
fn a_client_in_every_order() {
    let slow = || Client::new(Pace::Slow);
    let tally = every_sequence("client", slow, &[], &client::MOST, 5);
    assert!(tally.established > 0);
    every_sequence("client, all symbols", slow, &[], client::ALL, 3);
    for beginning in client::BEGINNINGS {
        every_sequence(&format!("client after {beginning:?}"), slow, beginning, &client::MOST, 4);
        for pace in [Pace::Slow, Pace::Fast] {
            let what = format!("{pace:?} client after {beginning:?}, all symbols");
            every_sequence(&what, || Client::new(pace), beginning, client::ALL, 3);
        }
    }
}

#[test]
fn a_server_in_random_orders() {
    for (pace, seeds) in [(Pace::Slow, 0..500_000), (Pace::Fast, 500_000..1_000_000)] {
        let what = format!("{pace:?} server, random sequences");
        let tally = random_sequences(&what, || Server::new(pace), server::ALL, 12, seeds);
        assert!(tally.established > tally.sequences / 4);
    }
}

#[test]
fn a_client_in_random_orders() {
    for (pace, seeds) in [(Pace::Slow, 0..500_000), (Pace::Fast, 500_000..1_000_000)] {
        let what = format!("{pace:?} client, random sequences");
        let tally = random_sequences(&what, || Client::new(pace), client::ALL, 12, seeds);
        assert!(tally.established > tally.sequences / 4);
    }
}

#[cfg(feature = "dtls13")]
#[test]
fn a_server_of_dtls13_in_every_order() {
    use server13::{BEGINNINGS, Server};

    let slow = || Server::new(Pace::Slow);
    let tally = every_sequence("server of 1.3", slow, &[], &server13::MOST, 4);
    assert!(tally.established > 0);
    every_sequence("server of 1.3, all symbols", slow, &[], server13::ALL, 3);
    for beginning in BEGINNINGS {
        for pace in [Pace::Slow, Pace::Fast] {
            let what = format!("{pace:?} server of 1.3 after {beginning:?}, all symbols");
            every_sequence(&what, || Server::new(pace), beginning, server13::ALL, 3);
        }
    }
}

#[cfg(feature = "dtls13")]
#[test]
fn a_client_of_dtls13_in_every_order() {
    use client13::{BEGINNINGS, Client};

    let slow = || Client::new(Pace::Slow);
    let tally = every_sequence("client of 1.3", slow, &[], &client13::MOST, 4);
    assert!(tally.established > 0);
    every_sequence("client of 1.3, all symbols", slow, &[], client13::ALL, 3);
    for beginning in BEGINNINGS {
        for pace in [Pace::Slow, Pace::Fast] {
            let what = format!("{pace:?} client of 1.3 after {beginning:?}, all symbols");
            every_sequence(&what, || Client::new(pace), beginning, client13::ALL, 3);
        }
    }
}

#[cfg(feature = "dtls13")]
#[test]
fn a_client_of_dtls13_in_random_orders() {
    for (pace, seeds) in [(Pace::Slow, 0..200_000), (Pace::Fast, 200_000..400_000)] {
        let what = format!("{pace:?} client of 1.3, random sequences");
        let tally = random_sequences(&what, || client13::Client::new(pace), client13::ALL, 12, seeds);
        assert!(tally.established > tally.sequences / 4);
    }
}

#[cfg(feature = "dtls13")]
#[test]
fn a_server_of_dtls13_in_random_orders() {
    for (pace, seeds) in [(Pace::Slow, 0..200_000), (Pace::Fast, 200_000..400_000)] {
        let what = format!("{pace:?} server of 1.3, random sequences");
        let tally = random_sequences(&what, || server13::Server::new(pace), server13::ALL, 12, seeds);
        assert!(tally.established > tally.sequences / 4);
    }
}

#[cfg(feature = "resumption")]
#[test]
fn resumption_in_every_order() {
    let (server, client) = (|| Server::that_resumes(Pace::Slow), || Client::that_resumes(Pace::Slow));
    let symbols = [&server::MOST[..], &server::RESUMING[..1]].concat();
    let tally = every_sequence("resuming server", server, &[], &symbols, 4);
    assert!(tally.established > 0);
    let symbols = [&client::MOST[..], &client::RESUMING[..1]].concat();
    let tally = every_sequence("resuming client", client, &[], &symbols, 4);
    assert!(tally.established > 0);
    for steps in 1..=server::RESUMING.len() {
        let beginning = &server::RESUMING[..steps];
        every_sequence(&format!("resuming server after {beginning:?}"), server, beginning, server::ALL, 3);
        let beginning = &client::RESUMING[..steps];
        every_sequence(&format!("resuming client after {beginning:?}"), client, beginning, client::ALL, 3);
    }
    for (pace, seeds) in [(Pace::Slow, 0..50_000), (Pace::Fast, 50_000..100_000)] {
        let (server, client) = (|| Server::that_resumes(pace), || Client::that_resumes(pace));
        let what = format!("{pace:?} resuming server, random sequences");
        random_sequences(&what, server, server::ALL, 12, seeds.clone());
        let what = format!("{pace:?} resuming client, random sequences");
        random_sequences(&what, client, client::ALL, 12, seeds);
    }
}

#[cfg(feature = "connection-id")]
#[test]
fn connection_ids_in_every_order() {
    for beginning in server::BEGINNINGS {
        let server = || Server::with_connection_ids(Pace::Slow);
        every_sequence(&format!("server with IDs after {beginning:?}"), server, beginning, server::ALL, 3);
    }
    for beginning in client::BEGINNINGS {
        let client = || Client::with_connection_ids(Pace::Slow);
        every_sequence(&format!("client with IDs after {beginning:?}"), client, beginning, client::ALL, 3);
    }
    let (server, client) =
        (|| Server::with_connection_ids(Pace::Fast), || Client::with_connection_ids(Pace::Fast));
    random_sequences("server with IDs, random sequences", server, server::ALL, 12, 0..100_000);
    random_sequences("client with IDs, random sequences", client, client::ALL, 12, 0..100_000);
}
