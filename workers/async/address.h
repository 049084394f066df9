/* address: whether an address belongs to the public Internet.
 *
 * What is not: this host, private and shared networks, link-local (where clouds keep
 * their metadata), multicast, documentation, and what is reserved, of IPv4, of IPv6, and
 * of IPv4 inside of IPv6 (the IANA special-purpose registries, RFC 6890). Any thread. */
#ifndef BELAY_WORKERS_ASYNC_ADDRESS_H
#define BELAY_WORKERS_ASYNC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

bool address_is_public(const struct sockaddr *address);
/* The same for its text; false for what is no address. */
bool address_text_is_public(const char *text);

#endif
