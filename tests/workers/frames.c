/* Frames in any pieces, and what is none. */
#include "workers/frames.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(frames, .timeout = 30);

static void open_pair(int ends[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

Test(frames, one_arrives_whole_however_it_was_cut)
{
    int ends[2], through[2];
    struct frames f = {.bytes = NULL};
    const struct frame_part parts[] = {{"ab", 3}, {"", 1}, {"cd", 3}};
    struct frame frame;
    const char *text;
    bool broken;
    char byte;

    open_pair(ends);
    open_pair(through);
    cr_assert(frame_send(ends[0], FRAME_LOG, parts, 3, 1000));
    shutdown(ends[0], SHUT_WR);
    while (read(ends[1], &byte, 1) == 1) {
        cr_expect_not(frames_next(&f, &frame, &broken) || broken);
        cr_assert_eq(write(through[0], &byte, 1), 1);
        cr_assert_eq(frames_read(&f, through[1]), FRAMES_MORE);
    }
    cr_assert(frames_next(&f, &frame, &broken));
    cr_expect_eq(frame.kind, FRAME_LOG);
    cr_expect(frame_take_text(&frame, &text) && strcmp(text, "ab") == 0);
    cr_expect(frame_take_text(&frame, &text) && *text == '\0');
    cr_expect(frame_take_text(&frame, &text) && strcmp(text, "cd") == 0);
    cr_expect_not(frame_take_text(&frame, &text));
    cr_expect_not(frame_take(&frame, &byte, 1));
    cr_expect_not(frames_next(&f, &frame, &broken));
    frames_release(&f);
}

Test(frames, what_is_no_frame_is_told)
{
    static const uint32_t heads[][2] = {{FRAME_KINDS, 0}, {FRAME_LOG, 1U << 31}};

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct frames f = {.bytes = NULL};
        struct frame frame;
        bool broken;
        int ends[2];

        open_pair(ends);
        cr_assert_eq(write(ends[0], heads[i], sizeof heads[i]), (ssize_t)sizeof heads[i]);
        cr_assert_eq(frames_read(&f, ends[1]), FRAMES_MORE);
        cr_expect_not(frames_next(&f, &frame, &broken));
        cr_expect(broken);
        frames_release(&f);
    }
}

Test(frames, a_text_without_its_end_is_none)
{
    struct frame frame = {.kind = FRAME_LOG, .bytes = "abc", .len = 3};
    const char *text;

    cr_expect_not(frame_take_text(&frame, &text));
    cr_expect_eq(frame.len, 3);
}

Test(frames, nobody_waits_for_ever_for_a_reader)
{
    static char much[1 << 20];
    const struct frame_part part = {much, sizeof much};
    int ends[2];

    open_pair(ends);
    cr_expect_not(frame_send(ends[0], FRAME_JOB, &part, 1, 20));
    close(ends[1]);
    cr_expect_not(frame_send(ends[0], FRAME_JOB, &part, 1, 20));
}

Test(frames, the_end_of_the_other_side_is_seen)
{
    struct frames f = {.bytes = NULL};
    int ends[2];

    open_pair(ends);
    close(ends[0]);
    cr_expect_eq(frames_read(&f, ends[1]), FRAMES_END);
    frames_release(&f);
}
