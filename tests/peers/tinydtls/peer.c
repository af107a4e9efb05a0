/* tinydtls as a peer: CCM_8 and CCM, keys of up to 16 bytes, no resumption. */
#include "driver.h"

#include "tinydtls.h"
#include "dtls.h"
#include "dtls_prng.h"
#include "dtls_time.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static dtls_context_t *context;
static session_t session;
static int is_connected, is_closed, failure;
static uint8_t received[4096];
static int received_len = -1;

static void name_peer(void) {
    dtls_session_init(&session);
    session.size = sizeof session.addr.sin;
    datagram_peer((uint8_t *)&session.addr.sin, sizeof session.addr.sin);
}

static int send_datagram(struct dtls_context_t *c, session_t *to, uint8 *bytes, size_t len) {
    (void)c, (void)to;
    return datagram_send(bytes, len);
}

static int take_data(struct dtls_context_t *c, session_t *from, uint8 *bytes, size_t len) {
    (void)c, (void)from;
    received_len = (int)(len < sizeof received ? len : sizeof received);
    memcpy(received, bytes, (size_t)received_len);
    return 0;
}

static int take_event(struct dtls_context_t *c, session_t *from, dtls_alert_level_t level, unsigned short code) {
    (void)c, (void)from;
    if (level == 0 && code == DTLS_EVENT_CONNECTED) is_connected = 1;
    if (level != 0 && code == DTLS_ALERT_CLOSE_NOTIFY) is_closed = 1;
    else if (level == DTLS_ALERT_LEVEL_FATAL) failure = -(int)code - 1;
    return 0;
}

static int key_info(struct dtls_context_t *c, const session_t *s, dtls_credentials_type_t type, const unsigned char *id,
                    size_t id_len, unsigned char *out, size_t max) {
    (void)c, (void)s;
    size_t len = strlen(options.identity);
    switch (type) {
    case DTLS_PSK_HINT: return 0;
    case DTLS_PSK_IDENTITY:
        if (len > max) return dtls_alert_fatal_create(DTLS_ALERT_INTERNAL_ERROR);
        memcpy(out, options.identity, len);
        return (int)len;
    case DTLS_PSK_KEY:
        if (options.is_server && (id_len != len || memcmp(id, options.identity, len)))
            return dtls_alert_fatal_create(DTLS_ALERT_DECRYPT_ERROR);
        if (options.key_len > max) return dtls_alert_fatal_create(DTLS_ALERT_INTERNAL_ERROR);
        memcpy(out, options.key, options.key_len);
        return (int)options.key_len;
    default: return dtls_alert_fatal_create(DTLS_ALERT_INTERNAL_ERROR);
    }
}

static dtls_cipher_t suite_number(const char *name) {
    if (!strcmp(name, "CCM_8")) return TLS_PSK_WITH_AES_128_CCM_8;
    if (!strcmp(name, "CCM")) return TLS_PSK_WITH_AES_128_CCM;
    return TLS_NULL_WITH_NULL_NULL;
}

static void choose_suite(struct dtls_context_t *c, session_t *s, dtls_user_parameters_t *parameters) {
    (void)c, (void)s;
    parameters->cipher_suites[0] = suite_number(options.suite);
    parameters->cipher_suites[1] = TLS_NULL_WITH_NULL_NULL;
}

int peer_start(void) {
    static dtls_handler_t handler = {.write = send_datagram,
                                     .read = take_data,
                                     .event = take_event,
                                     .get_psk_info = key_info,
                                     .get_user_parameters = choose_suite};
    dtls_init();
    context = dtls_new_context(0);
    if (!context) return -1;
    dtls_set_handler(context, &handler);
    return suite_number(options.suite) == TLS_NULL_WITH_NULL_NULL ? -2 : 0;
}

int peer_open(int resume) {
    (void)resume;
    is_connected = is_closed = failure = 0;
    received_len = -1;
    if (options.is_server) return 0;
    name_peer();
    return dtls_connect(context, &session) < 0 ? -1 : 0;
}

static void handle_datagrams(void) {
    uint8_t datagram[2048];
    int got;
    while (received_len < 0 && (got = datagram_receive(datagram, sizeof datagram)) >= 0) {
        if (options.is_server) name_peer();
        dtls_handle_message(context, &session, datagram, got);
    }
    clock_time_t next;
    dtls_check_retransmit(context, &next);
}

int peer_handshake(void) {
    handle_datagrams();
    if (failure && !options.is_server) return failure;
    return is_connected ? PEER_DONE : PEER_AGAIN;
}

int peer_read(uint8_t *buffer, size_t len, int *got) {
    handle_datagrams();
    if (received_len >= 0) {
        *got = received_len < (int)len ? received_len : (int)len;
        memcpy(buffer, received, (size_t)*got);
        received_len = -1;
        return PEER_DONE;
    }
    return is_closed ? PEER_CLOSED : failure ? failure : PEER_AGAIN;
}

int peer_write(const uint8_t *bytes, size_t len) {
    return dtls_write(context, &session, (uint8 *)bytes, len) == (int)len ? PEER_DONE : -1;
}

void peer_close(void) { dtls_close(context, &session); }

void peer_describe(char *text, size_t len) { snprintf(text, len, "suite=%s cid=none", options.suite); }
