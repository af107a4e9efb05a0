/*
 * A DTLS client or server over UDP on the loopback address, for the interop tests: driven by its command line and its input,
 * and saying what happens line by line.
 *
 *   server [options]        says `ready PORT`; sends back in capitals what it gets
 *   client PORT [options]   `!rebind` takes another source port, `!again` closes and connects once more with the last session on
 *                           offer
 *
 * Both send each line of their input. `!close` says goodbye; with a library that knows them, `!update` takes new keys,
 * `!request-update` asks the other end to do so as well, and `!export LABEL LENGTH` says exported keying material.
 */
#include "driver.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct options options = {.suite = "CCM_8", .identity = "client1", .dtls = "any", .ke = "any", .share = "x25519"};

static int fd = -1;
static struct sockaddr_in peer;
static int has_peer;
static int input_ended;

uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int datagram_send(const uint8_t *bytes, size_t len) {
    if (!has_peer) return -1;
    return (int)sendto(fd, bytes, len, 0, (struct sockaddr *)&peer, sizeof peer);
}

int datagram_receive(uint8_t *buffer, size_t len) {
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t got = recvfrom(fd, buffer, len, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    if (got < 0) return -1;
    /* Answers go to where the last datagram came from: the tests' clients move on purpose. */
    peer = from;
    has_peer = 1;
    return (int)got;
}

size_t datagram_peer(uint8_t *address, size_t len) {
    size_t size = sizeof peer < len ? sizeof peer : len;
    memcpy(address, &peer, size);
    return size;
}

void hex(char *out, const uint8_t *bytes, size_t len) {
    *out = 0;
    for (size_t at = 0; at < len; at++) out += sprintf(out, "%02x", bytes[at]);
}

static size_t unhex(const char *text, uint8_t *out, size_t max) {
    size_t len = 0;
    for (; text[0] && text[1] && len < max; text += 2) {
        unsigned byte;
        if (sscanf(text, "%2x", &byte) != 1) break;
        out[len++] = (uint8_t)byte;
    }
    return len;
}

static void open_socket(void) {
    int before = fd;
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any)) {
        perror("socket");
        exit(1);
    }
    if (before >= 0) close(before);
}

static int port(void) {
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &len);
    return ntohs(own.sin_port);
}

/* Waits for a datagram or a line of input, 20 ms at most. */
static void wait_a_moment(int with_input) {
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    poll(fds, with_input && !input_ended ? 2 : 1, 20);
}

static int shake_hands(int resume) {
    int outcome = peer_open(resume);
    if (outcome) {
        /* No peer has any part in this. */
        printf("error open %d\n", outcome);
        exit(1);
    }
    while ((outcome = peer_handshake()) == PEER_AGAIN) wait_a_moment(0);
    if (outcome != PEER_DONE) {
        printf("error handshake %d\n", outcome);
        return -1;
    }
    char text[512];
    peer_describe(text, sizeof text);
    printf("established %s\n", text);
    return 0;
}

/* Takes what has come: 0 while the session goes on. */
static int take(void) {
    uint8_t buffer[20000];
    int got = 0, outcome = peer_read(buffer, sizeof buffer, &got);
    if (outcome == PEER_DONE) {
        printf("data %.*s\n", got, (char *)buffer);
        if (options.is_server) {
            for (int at = 0; at < got; at++) buffer[at] = (uint8_t)toupper(buffer[at]);
            outcome = peer_write(buffer, (size_t)got);
            if (outcome != PEER_DONE) printf("error write %d\n", outcome);
        }
        return 0;
    }
    if (outcome == PEER_CLOSED) printf("closed\n");
    else if (outcome != PEER_AGAIN) printf("error read %d\n", outcome);
    return outcome != PEER_AGAIN;
}

/* A line of input without its end, if there is a whole one; else an empty one. */
static void read_line(char *line, size_t max) {
    static char held[8192];
    static size_t len;
    char *end = memchr(held, '\n', len);
    if (!end) {
        ssize_t got = read(0, held + len, sizeof held - len);
        if (got == 0) input_ended = 1;
        if (got > 0) len += (size_t)got;
        end = memchr(held, '\n', len);
    }
    *line = 0;
    if (end) {
        size_t size = (size_t)(end - held);
        memcpy(line, held, size < max ? size : max - 1);
        line[size < max ? size : max - 1] = 0;
        len -= size + 1;
        memmove(held, end + 1, len);
    }
}

/* What both roles do with a line of input; 0 for goodbye. */
static int obey(const char *line) {
    if (!strcmp(line, "!close")) return 0;
    if (*line == '!') {
        char answer[1024] = "";
        int outcome = peer_command(line + 1, answer, sizeof answer);
        if (outcome != PEER_DONE) printf("error command %d\n", outcome);
        else if (*answer) printf("%s\n", answer);
    } else if (*line) {
        int outcome = peer_write((uint8_t *)line, strlen(line));
        if (outcome != PEER_DONE) printf("error write %d\n", outcome);
    }
    return 1;
}

__attribute__((weak)) int peer_command(const char *line, char *answer, size_t len) {
    (void)line, (void)answer, (void)len;
    return -1;
}

static void serve(void) {
    char line[8192];
    printf("ready %d\n", port());
    for (;;) {
        if (shake_hands(0) == 0) {
            while (!take()) {
                wait_a_moment(1);
                read_line(line, sizeof line);
                if (!obey(line)) break;
            }
        }
        peer_close();
        has_peer = 0;
    }
}

static void ask(int server) {
    char line[8192];
    peer.sin_family = AF_INET;
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer.sin_port = htons((uint16_t)server);
    has_peer = 1;
    if (shake_hands(0)) exit(1);
    while (!take()) {
        wait_a_moment(1);
        read_line(line, sizeof line);
        if (!strcmp(line, "!rebind")) {
            open_socket();
            printf("rebound %d\n", port());
        } else if (!strcmp(line, "!again")) {
            peer_close();
            open_socket();
            if (shake_hands(1)) exit(1);
        } else if (!obey(line) || input_ended) break;
    }
    peer_close();
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IOLBF, 0);
    int server = 0;
    if (argc > 1 && !strcmp(argv[1], "server")) options.is_server = 1;
    for (int at = options.is_server ? 2 : 3; at + 1 < argc; at += 2) {
        const char *name = argv[at], *value = argv[at + 1];
        if (!strcmp(name, "--suite")) options.suite = value;
        else if (!strcmp(name, "--identity")) options.identity = value;
        else if (!strcmp(name, "--key")) options.key_len = unhex(value, options.key, sizeof options.key);
        else if (!strcmp(name, "--cid")) options.has_cid = 1, options.cid_len = unhex(value, options.cid, sizeof options.cid);
        else if (!strcmp(name, "--mtu")) options.mtu = atoi(value);
        else if (!strcmp(name, "--max-fragment")) options.max_fragment = atoi(value);
        else if (!strcmp(name, "--server-name")) options.server_name = value;
        else if (!strcmp(name, "--tickets")) options.tickets = atoi(value);
        else if (!strcmp(name, "--no-ems")) options.no_ems = atoi(value);
        else if (!strcmp(name, "--dtls")) options.dtls = value;
        else if (!strcmp(name, "--ke")) options.ke = value;
        else if (!strcmp(name, "--share")) options.share = value;
        else if (!strcmp(name, "--no-cookie")) options.no_cookie = atoi(value);
        else if (!strcmp(name, "--keylog")) options.keylog = value;
        else return fprintf(stderr, "no option %s\n", name), 2;
    }
    if (!options.is_server) {
        if (argc < 3 || strcmp(argv[1], "client")) return fprintf(stderr, "server or client PORT?\n"), 2;
        server = atoi(argv[2]);
    }
    fcntl(0, F_SETFL, O_NONBLOCK);
    open_socket();
    int outcome = peer_start();
    if (outcome) return printf("error init %d\n", outcome), 1;
    if (options.is_server) serve();
    else ask(server);
    return 0;
}
