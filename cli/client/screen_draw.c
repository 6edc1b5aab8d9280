/* What chat shows on the whole screen, drawn anew each time: curses finds out what has changed. */
#include "screen.h"

#include "chat.h"

#include <curses.h>
#include <stdlib.h>
#include <time.h>

#define TEXT_MAX ((size_t)4 << 20)

static const char *connection_text(const struct screen *s)
{
    static const char *const texts[] = {[LOST] = "no connection",
                                        [CONNECTING] = "connecting",
                                        [CATCHING_UP] = "catching up",
                                        [CONNECTED] = ""};

    return texts[s->connection];
}

static void put_text(int row, int column, struct str text, size_t width)
{
    struct str rest = text, line = terminal_wrap(&rest, width);

    mvaddnstr(row, column, line.p, (int)line.n);
}

static void draw_title(const struct screen *s)
{
    struct buf text CLEANUP(buf_free) = {.max = 1024};
    size_t width = (size_t)COLS;

    terminal_clean(&text, str_of(s->title), false);
    terminal_part(&text, 0);
    if (s->online >= 0)
        buf_printf(&text, "  %d online", (int)s->online);
    if (s->connection != CONNECTED)
        buf_printf(&text, "  [%s]", connection_text(s));
    if (s->scroll)
        buf_append_str(&text, STR("  [Page Down goes on]"));
    attron(A_REVERSE);
    mvhline(0, 0, ' ', COLS);
    if (!buf_error(&text) && text.n)
        put_text(0, 0, buf_str(&text), width);
    attroff(A_REVERSE);
}

static void draw_line(int row, const struct view_line *line, bool is_first)
{
    size_t bold_end = line->bold_from + line->bold_bytes;

    move(row, is_first ? 0 : 6);
    if (line->dim)
        attron(A_DIM);
    addnstr(line->text.p, (int)(line->bold_bytes ? line->bold_from : line->text.n));
    if (line->bold_bytes) {
        attron(A_BOLD);
        addnstr(line->text.p + line->bold_from, (int)line->bold_bytes);
        attroff(A_BOLD);
        addnstr(line->text.p + bold_end, (int)(line->text.n - bold_end));
    }
    attroff(A_DIM);
}

/* From the bottom up, until the rows are full. How many lines there were too few. */
static size_t draw_from_bottom(const struct screen *s, int rows)
{
    struct view_line *parts = must_have(calloc(VIEW_LINES_MAX, sizeof(*parts)));
    struct buf text = {.max = TEXT_MAX};
    size_t skip = s->scroll, width = COLS > 1 ? (size_t)COLS : 1;
    int row = rows;

    for (size_t i = s->view.n; i-- > 0 && row > 0;) {
        const struct view_entry *e = &s->view.entries[i];
        char clock[8] = "";
        time_t at = (time_t)e->at_s;
        struct tm tm;
        size_t n;

        if (localtime_r(&at, &tm))
            strftime(clock, sizeof(clock), "%H:%M", &tm);
        text.n = 0;
        n = room_view_lines(e, clock, width, &text, parts);
        while (n > 0 && row > 0) {
            n--;
            if (skip)
                skip--;
            else
                draw_line(row--, &parts[n], n == 0);
        }
    }
    free(parts);
    buf_free(&text);
    return (size_t)row + skip;
}

/* Up to the first one, and not beyond. */
static void draw_messages(struct screen *s, int rows)
{
    size_t missing = draw_from_bottom(s, rows);

    if (!missing || !s->scroll)
        return;
    s->scroll -= missing < s->scroll ? missing : s->scroll;
    erase();
    (void)draw_from_bottom(s, rows);
}

void screen_draw(struct screen *s)
{
    struct buf line CLEANUP(buf_free) = {.max = TEXT_MAX};
    size_t column;
    struct str shown;
    int rows = LINES - 3;

    erase();
    if (LINES < 4 || COLS < 10) {
        mvaddnstr(0, 0, "too small", COLS);
        refresh();
        return;
    }
    draw_messages(s, rows);
    draw_title(s);
    attron(A_DIM);
    if (*s->problem)
        put_text(LINES - 2, 0, str_of(s->problem), (size_t)COLS);
    else if (s->typing_until_ns > clock_monotonic_ns())
        put_text(LINES - 2, 0, str_of(s->typing), (size_t)COLS);
    attroff(A_DIM);
    shown = input_shown(&s->input, (size_t)COLS - 3, &line, &column);
    mvaddnstr(LINES - 1, 0, "> ", 2);
    addnstr(shown.p, (int)shown.n);
    move(LINES - 1, (int)column + 2);
    refresh();
}
