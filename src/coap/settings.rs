//! What can be set of a server, whichever shell it has.

/// The methods of [`Server`](super::Server) and [`PolledServer`](super::PolledServer) that set up their responder and look at it.
macro_rules! settings {
    () => {
        /// Sets the transmission parameters, which tell how long requests are remembered and how patiently messages are sent again
        /// (§4.8).
        #[must_use]
        pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
            self.responder.parameters = parameters;
            self
        }

        /// Lets the resources in this list be observed (RFC 7641), and has the server send its handler's new responses whenever one
        /// of them [changes](super::Changes::notify).
        ///
        /// An observer is forgotten when it says so, when it rejects a notification or does not acknowledge one, when its session
        /// ends, and when the handler's response is an error, which is the last it gets. Requests of more than 64 bytes of
        /// options are answered but not observed; so are those that there is no room for.
        #[must_use]
        pub fn with_changes(mut self, changes: &'s dyn Observable) -> Self {
            self.responder.changes = Some(changes);
            self
        }

        /// Sets how observers are notified.
        #[must_use]
        pub fn with_observe_parameters(mut self, parameters: ObserveParameters) -> Self {
            self.responder.set_observe_parameters(parameters);
            self
        }

        /// Takes request bodies in blocks (RFC 7959 §2.5), as many at once as there are [`Upload`]s, and as long as those are.
        ///
        /// ```
        /// use dtls_psk::{SessionUdp, Timer, coap};
        ///
        /// async fn serve(
        ///     socket: &mut impl SessionUdp,
        ///     timer: impl Timer,
        ///     rng: impl rand_core::TryCryptoRng,
        ///     resources: &mut impl coap_handler::Handler,
        /// ) {
        ///     let (mut firmware, mut settings) = ([0; 65_536], [0; 4_096]);
        ///     let mut uploads = [coap::Upload::new(&mut firmware), coap::Upload::new(&mut settings)];
        ///     coap::Server::new(socket, timer, rng).with_uploads(&mut uploads).run(resources).await;
        /// }
        /// ```
        ///
        /// A handler that writes to flash block by block takes the option by itself: see [`understand`](Self::understand).
        #[must_use]
        pub fn with_uploads(mut self, uploads: &'s mut [Upload<'s>]) -> Self {
            self.responder.uploads = uploads;
            self
        }

        /// Asks `policy` about each request before a handler sees it. What it does not grant is denied, by 4.03.
        #[must_use]
        pub fn with_policy(mut self, policy: &'s dyn Policy) -> Self {
            self.responder.policy = Some(policy);
            self
        }

        /// Lets critical options reach the handler that RFC 7252 does not define, because it understands them.
        ///
        /// Requests with others are answered 4.02 (Confirmable) or ignored (Non-confirmable), as §5.4.1 wants it. With Block1 (27) in
        /// the list, the handler sees each block of a body by itself, and answers with a Block1 option of its own. Block2,
        /// Proxy-Uri and Proxy-Scheme stay guarded whatever is in the list.
        #[must_use]
        pub fn understand(mut self, options: &'static [u16]) -> Self {
            self.responder.known_options = options;
            self
        }

        /// What the server has seen so far.
        pub fn counters(&self) -> Counters {
            self.responder.counters
        }

        /// How many requests are to be answered later: observations, and separate responses.
        pub fn observers(&self) -> usize {
            self.responder.observers()
        }
    };
}

pub(super) use settings;
