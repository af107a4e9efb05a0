/* What the peers' programs share: a command line, a socket, and a session at a time over a library that each brings. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stddef.h>
#include <stdint.h>

struct options {
    int is_server;
    const char *suite;    /* CCM_8, CCM, GCM, or with ECDHE_ in front; several where the library takes a list: CCM,GCM */
    const char *identity;
    uint8_t key[64];
    size_t key_len;
    int has_cid;          /* whether connection IDs are used; an empty one is one too */
    uint8_t cid[32];
    size_t cid_len;
    int mtu;              /* of handshake datagrams; 0 for the library's own */
    int max_fragment;     /* bytes, for max_fragment_length; 0 for none */
    const char *server_name;
    int tickets;          /* whether RFC 5077 tickets are given or taken */
    int no_ems;
    /* What only peers with DTLS 1.3 know. */
    const char *dtls;     /* 1.2, 1.3 or any */
    const char *ke;       /* psk_ke, psk_dhe_ke or any */
    const char *share;    /* of a client, the group that it has a key share of first: x25519, p256 or none */
    int no_cookie;        /* of a server: no HelloRetryRequest for the sake of a cookie */
    const char *keylog;   /* the file that secrets are appended to, in the format that Wireshark reads */
};

extern struct options options;

/* What happened; negative numbers are the library's errors. */
enum { PEER_AGAIN = 0, PEER_DONE = 1, PEER_CLOSED = 2 };

/* The library's side, one file each. */
int peer_start(void);                                 /* once; 0 is good, other numbers the library's */
int peer_open(int resume);                           /* a new session; `resume` offers the last one */
int peer_handshake(void);                            /* AGAIN, DONE or an error */
int peer_read(uint8_t *buffer, size_t len, int *got); /* AGAIN, DONE with `got` bytes, CLOSED or an error */
int peer_write(const uint8_t *bytes, size_t len);    /* DONE or an error */
void peer_close(void);                               /* says close_notify and keeps the session to be resumed */
void peer_describe(char *text, size_t len);          /* "suite=… resumed=yes|no …" */
int peer_command(const char *line, char *answer, size_t len); /* DONE, with what to say of it if anything, or an error; most
                                                                  libraries bring none */

/* The driver's side: a datagram out and in; -1 where there is none. */
int datagram_send(const uint8_t *bytes, size_t len);
int datagram_receive(uint8_t *buffer, size_t len);
/* The other end's address, for cookies. */
size_t datagram_peer(uint8_t *address, size_t len);
uint64_t now_ms(void);
void hex(char *out, const uint8_t *bytes, size_t len);

#endif
