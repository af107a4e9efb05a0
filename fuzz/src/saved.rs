//! Sides of a session that sleep, or fail and come back.

use dtls_psk::{Connection, ImageSeal, MAX_IMAGE_LEN, SessionId};

use crate::world::{World, path};

/// What a side has saved last: its image, with its number, and nothing if the number is 0.
pub struct Saved {
    counter: u64,
    image: Vec<u8>,
    session: Option<SessionId>,
}

impl Saved {
    pub const NOTHING: Self = Self { counter: 0, image: Vec::new(), session: None };
}

const KEY: [u8; 16] = [0x1E; 16];

/// How many records may go out before the next checkpoint.
const RECORDS: u32 = 16;

const fn seal(counter: u64) -> ImageSeal<'static> {
    ImageSeal { key: &KEY, counter }
}

impl World<'_> {
    /// A side of the session sleeps, and goes on. Nothing is lost but what it was about to say.
    pub fn sleep(&mut self, at: usize, by_server: bool) {
        let mut image = [0; MAX_IMAGE_LEN];
        let path = path(at);
        if by_server {
            let Ok(len) = self.server.suspend(&path, &seal(1), &mut image) else { return };
            let restored = self.server.restore(path, &seal(1), &image[..len], self.now);
            restored.expect("what was saved can be restored");
        } else {
            let client = self.client(at);
            if client.connection.peer().is_none() {
                return;
            }
            // A place holder.
            let (config, psk, now) = (self.config, self.client(at).psk, self.now);
            let idle = Connection::client(config, psk, &mut self.rng, now).expect("as before");
            let awake = std::mem::replace(&mut self.client(at).connection, idle);
            let len = awake.suspend(&seal(1), &mut image).map_err(|(_, error)| error);
            let len = len.expect("a session can be saved");
            let restored = Connection::restore(config, psk, &seal(1), &image[..len]);
            self.client(at).connection = restored.expect("what was saved can be restored");
        }
    }

    pub fn checkpoint(&mut self, at: usize, by_server: bool) {
        let mut image = [0; MAX_IMAGE_LEN];
        let counter = self.client(at).saved[usize::from(by_server)].counter + 1;
        let saved = if by_server {
            self.server.checkpoint(&path(at), RECORDS, &seal(counter), &mut image)
        } else {
            self.client(at).connection.checkpoint(RECORDS, &seal(counter), &mut image)
        };
        let Ok(len) = saved else { return };
        let session = self.session(at, by_server);
        let image = image[..len].to_vec();
        self.client(at).saved[usize::from(by_server)] = Saved { counter, image, session };
    }

    /// The sides that have saved the session do so once more.
    pub fn save_again(&mut self, at: usize) {
        for by_server in [false, true] {
            if self.client(at).saved[usize::from(by_server)].counter > 0 {
                self.checkpoint(at, by_server);
            }
        }
    }

    /// A side of the session fails, and goes on from its checkpoint. Where it was allowed to send until then, the session is whole.
    pub fn crash(&mut self, at: usize, by_server: bool) {
        let Saved { counter, image, session } =
            std::mem::replace(&mut self.client(at).saved[usize::from(by_server)], Saved::NOTHING);
        if counter == 0 {
            return;
        }
        let is_current = self.session(at, by_server) == session && self.can_send(at, by_server);
        if by_server {
            let mut gone = [0; MAX_IMAGE_LEN];
            // As if there had been a reboot: without a word to the client.
            let _ = self.server.suspend(&path(at), &seal(counter), &mut gone);
            if self.server.restore(path(at), &seal(counter), &image, self.now).is_err() {
                self.go_astray(at);
            }
        } else {
            let (config, psk) = (self.config, self.client(at).psk);
            let restored = Connection::restore(config, psk, &seal(counter), &image);
            self.client(at).connection = restored.expect("what was saved can be restored");
        }
        self.forget(by_server);
        if !is_current {
            self.go_astray(at);
        }
    }
}
