#include "workers/async/address.h"

#include <criterion/criterion.h>

TestSuite(address, .timeout = 30);

Test(address, what_anybody_may_have_is_public)
{
    static const char *const addresses[] = {
        "1.1.1.1",        "9.255.255.255",   "11.0.0.0",         "100.63.255.255",
        "100.128.0.0",    "126.255.255.255", "128.0.0.0",        "169.253.255.255",
        "172.15.255.255", "172.32.0.0",      "192.167.255.255",  "192.169.0.0",
        "198.17.255.255", "198.20.0.0",      "223.255.255.255",  "2606:4700::1111",
        "2a00::1",        "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8", "2002:808:808::1"};

    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        cr_expect(address_text_is_public(addresses[i]), "%s", addresses[i]);
}

Test(address, what_is_behind_a_wall_is_not)
{
    static const char *const addresses[] = {"0.0.0.0",
                                            "10.0.0.1",
                                            "10.255.255.255",
                                            "100.64.0.0",
                                            "100.127.255.255",
                                            "127.0.0.1",
                                            "127.255.255.255",
                                            "169.254.169.254",
                                            "172.16.0.0",
                                            "172.31.255.255",
                                            "192.0.0.8",
                                            "192.0.2.1",
                                            "192.168.0.1",
                                            "198.18.0.1",
                                            "198.19.255.255",
                                            "198.51.100.7",
                                            "203.0.113.7",
                                            "224.0.0.1",
                                            "240.0.0.1",
                                            "255.255.255.255",
                                            "::",
                                            "::1",
                                            "fc00::1",
                                            "fdff::1",
                                            "fe80::1",
                                            "ff02::1",
                                            "2001:db8::1",
                                            "2001::1",
                                            "::ffff:10.0.0.1",
                                            "64:ff9b::10.0.0.1",
                                            "2002:7f00:1::1",
                                            "::127.0.0.1",
                                            "localhost",
                                            ""};

    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        cr_expect_not(address_text_is_public(addresses[i]), "%s", addresses[i]);
}
