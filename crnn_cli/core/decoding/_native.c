/* Beam search, forward algorithm and alignment, an image at a time: the same results as beam.py, likelihood.py,
   alignment.py and the automata (grammar.py, language.py, lexicon.py, tree.py) give in numpy.

   Python calls `crnn_*` through ctypes, see native.py; the module itself is empty, and there so that setuptools builds
   it as it builds any extension. Without a compiler numpy does the work. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define BLANK 0
#define NONE (-INFINITY)
#define MOST 4 /* automata of a grammar */

enum { NGRAMS, LEXICON, TABLE };

/* An automaton of grammar.py; which arrays there are depends on its kind. */
typedef struct {
    int64_t kind, start;
    double scale;   /* of all weights that bar nothing */
    double outside; /* LEXICON: of a text that is no word */
    int64_t size, parents;         /* of tree.py */
    const int64_t *keys, *first;   /* of tree.py */
    const int64_t *tokens;         /* (K,) of each label; NGRAMS: at BLANK's place that of the end */
    const double *probability, *weight, *shortest; /* NGRAMS, see language.py */
    const int64_t *suffix;         /* NGRAMS */
    const uint8_t *marks;          /* NGRAMS: whether a node leads on; LEXICON: whether a word ends at it */
    const double *weights;         /* TABLE: (states, K) */
    const int64_t *next;           /* TABLE: (states, K) */
} Automaton;

typedef struct {
    int64_t classes, count;
    double bonus;
    const Automaton *automata;
} Grammar;

typedef struct {
    double blank, label;   /* log-probability of the paths that end in a blank, and in the last label */
    double sum;            /* of both */
    double weight;         /* what the grammar added */
    uint64_t hash, parent; /* of the prefix, and of the prefix without its last label */
    int64_t last;          /* the last label, BLANK of the empty prefix */
    int64_t state[MOST];
} Beam;

typedef struct {
    double score, weight, label; /* `label`: of a new prefix, as in Beam */
    int32_t source, joined;      /* the beam it comes from; the label that joins, BLANK where none does */
} Candidate;

static double added(double a, double b) /* the logarithm of the sum */
{
    if (a < b) {
        double c = a;
        a = b;
        b = c;
    }
    return b < a - 40 || b == NONE ? a : a + log1p(exp(b - a)); /* e^-40 is lost in a double */
}

static int64_t child(const Automaton *own, int64_t node, int64_t token) /* 0: there is none */
{
    if (node >= own->parents)
        return 0;
    int64_t low = own->first[node] - 1, high = own->first[node + 1] - 1, key = node * own->size + token;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (own->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < own->first[node + 1] - 1 && own->keys[low] == key ? low + 1 : 0;
}

static double ngram(const Automaton *own, int64_t state, int64_t label)
{
    int64_t token = own->tokens[label];
    double backed_off = 0;
    for (; state; state = own->suffix[state]) {
        int64_t node = child(own, state, token);
        if (node)
            return backed_off + own->probability[node];
        backed_off += own->weight[state];
    }
    return backed_off + own->shortest[token];
}

static double weigh(const Grammar *grammar, const int64_t *state, int64_t label) /* without the bonus */
{
    double total = 0;
    for (int64_t i = 0; i < grammar->count; i++) {
        const Automaton *own = grammar->automata + i;
        double weight = 0;
        if (own->kind == NGRAMS)
            weight = ngram(own, state[i], label);
        else if (own->kind == TABLE)
            weight = own->weights[state[i] * grammar->classes + label];
        else if (state[i] < own->parents)
            if (label == BLANK ? !own->marks[state[i]] : !child(own, state[i], own->tokens[label]))
                weight = own->outside;
        if (weight == NONE)
            return NONE;
        total += weight * own->scale;
    }
    return total;
}

static int64_t behind(const Automaton *own, int64_t context, int64_t token) /* NGRAMS: the context that they make */
{
    for (;; context = own->suffix[context]) {
        int64_t node = child(own, context, token);
        if (node && node < own->parents && own->marks[node])
            return node;
        if (!context)
            return 0;
    }
}

static void follow(const Grammar *grammar, int64_t *state, int64_t label)
{
    for (int64_t i = 0; i < grammar->count; i++) {
        const Automaton *own = grammar->automata + i;
        if (own->kind == TABLE) {
            state[i] = own->next[state[i] * grammar->classes + label];
            continue;
        }
        int64_t token = own->tokens[label];
        if (own->kind == LEXICON) {
            int64_t node = child(own, state[i], token);
            state[i] = node ? node : own->parents;
        } else {
            state[i] = behind(own, state[i], token);
        }
    }
}

static uint64_t hashed(uint64_t prefix, int64_t label) /* of a prefix with a further label (splitmix64) */
{
    uint64_t mixed = (prefix + (uint64_t)label) * UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    return mixed ^ (mixed >> 27);
}

static int likeliest(const float *frame, int64_t classes, int count, int32_t *chosen)
{
    int found = 0;
    for (int64_t label = 1; label < classes; label++) {
        if (isnan(frame[label]) || (found == count && !(frame[label] > frame[chosen[found - 1]])))
            continue;
        int place = found < count ? found++ : found - 1;
        for (; place && frame[chosen[place - 1]] < frame[label]; place--)
            chosen[place] = chosen[place - 1];
        chosen[place] = (int32_t)label;
    }
    return found;
}

static void sink(Candidate *heap, int size, int place) /* the worst of all is the first */
{
    for (;;) {
        int worst = place, left = 2 * place + 1;
        if (left < size && heap[left].score < heap[worst].score)
            worst = left;
        if (left + 1 < size && heap[left + 1].score < heap[worst].score)
            worst = left + 1;
        if (worst == place)
            return;
        Candidate other = heap[place];
        heap[place] = heap[worst];
        heap[worst] = other;
        place = worst;
    }
}

static void offer(Candidate *heap, int *size, int width, Candidate one)
{
    if (*size < width) {
        heap[(*size)++] = one;
        if (*size == width)
            for (int place = width / 2; place >= 0; place--)
                sink(heap, width, place);
    } else if (one.score > heap->score) {
        *heap = one;
        sink(heap, width, 0);
    }
}

typedef struct {
    Beam *beams, *next;     /* (width,) */
    double *stay;           /* (width,) log-probability of a beam's last label staying, or growing again */
    Candidate *heap;        /* (width,) */
    int32_t *order;         /* (width,) */
    int32_t *chosen;        /* (classes,) */
    uint8_t *taken;         /* (width, classes of the model): whether the prefix with this label is a beam itself */
    int32_t *source, *joined; /* (steps, width) */
} Room;

/* One frame: every prefix stays as it is or takes on a label; the best of all these are kept. Returns how many. */
static int step(const Grammar *grammar, const float *frame, Room *room, int live, int width, int classes,
                int32_t *source, int32_t *joined)
{
    Beam *beams = room->beams;
    int count = likeliest(frame, grammar->classes, classes, room->chosen), size = 0;

    /* A prefix that is here already also gets the paths by which its parent, if that is here too, grows into it. */
    for (int i = 0; i < live; i++)
        room->stay[i] = beams[i].last == BLANK ? NONE : beams[i].label + frame[beams[i].last];
    for (int i = 0; i < live; i++) {
        if (beams[i].last == BLANK)
            continue;
        for (int j = 0; j < live; j++)
            if (beams[i].parent == beams[j].hash) {
                double paths = beams[j].last == beams[i].last ? beams[j].blank : beams[j].sum;
                room->stay[i] = added(room->stay[i], paths + frame[beams[i].last]);
                room->taken[j * grammar->classes + beams[i].last] = 1;
            }
    }
    for (int i = 0; i < live; i++) {
        double score = added(beams[i].sum + frame[BLANK], room->stay[i]) + beams[i].weight;
        if (score > NONE)
            offer(room->heap, &size, width, (Candidate){score, beams[i].weight, room->stay[i], i, BLANK});
    }
    for (int i = 0; i < live; i++)
        for (int k = 0; k < count; k++) {
            int32_t label = room->chosen[k];
            double hope = beams[i].sum + frame[label] + beams[i].weight + grammar->bonus;
            if (!(hope > NONE) || (size == width && !(hope > room->heap->score)))
                break; /* further labels are less likely, and weights no more than 0 */
            double grown = (label == beams[i].last ? beams[i].blank : beams[i].sum) + frame[label];
            if (!(grown > NONE) || room->taken[i * grammar->classes + label])
                continue;
            double weight = weigh(grammar, beams[i].state, label);
            if (weight == NONE)
                continue;
            weight += beams[i].weight + grammar->bonus;
            offer(room->heap, &size, width, (Candidate){grown + weight, weight, grown, i, label});
        }
    for (int i = 0; i < live; i++)
        for (int j = 0; j < live; j++)
            room->taken[i * grammar->classes + beams[j].last] = 0;

    for (int i = 0; i < size; i++) {
        Candidate one = room->heap[i];
        Beam *made = room->next + i;
        *made = beams[one.source];
        made->label = one.label;
        made->weight = one.weight;
        if (one.joined == BLANK) {
            made->blank = beams[one.source].sum + frame[BLANK];
        } else {
            made->blank = NONE;
            made->last = one.joined;
            made->parent = made->hash;
            made->hash = hashed(made->hash, one.joined);
            follow(grammar, made->state, one.joined);
        }
        made->sum = added(made->blank, made->label);
        source[i] = one.source;
        joined[i] = one.joined;
    }
    room->beams = room->next;
    room->next = beams;
    return size;
}

/* The hypotheses of one image, best first; returns how many. */
static int finish(const Grammar *grammar, Room *room, int live, int64_t steps, int width, int64_t length,
                  int32_t *labels, int64_t *lengths, double *scores, double *weights)
{
    int found = 0;
    for (int i = 0; i < live; i++) { /* insertion sort: they are few */
        double weight = weigh(grammar, room->beams[i].state, BLANK) + room->beams[i].weight;
        double score = room->beams[i].sum + weight;
        if (!(score > NONE))
            continue;
        int place = found++;
        for (; place && scores[place - 1] < score; place--) {
            scores[place] = scores[place - 1];
            weights[place] = weights[place - 1];
            room->order[place] = room->order[place - 1];
        }
        scores[place] = score;
        weights[place] = weight;
        room->order[place] = i;
    }
    for (int i = 0; i < found; i++) {
        int32_t beam = room->order[i];
        int64_t end = length;
        for (int64_t t = steps - 1; t >= 0; t--) {
            int32_t joined = room->joined[t * width + beam];
            if (joined != BLANK)
                labels[i * length + --end] = joined;
            beam = room->source[t * width + beam];
        }
        lengths[i] = length - end;
    }
    return found;
}

/* Searches each of N images; see beam.py.

   log_probs (N, T, K), `stride` numbers an image; frames (N,), T at most. Of each image then `found` hypotheses, width
   at most, best first: the last `lengths` of T `labels`, `scores` and `weights`, (N, width, ...). Returns 0, or -1
   where memory is short. */
EXPORT int crnn_search(const float *log_probs, int64_t stride, const int64_t *frames, int64_t n,
                       const Grammar *grammar, int width, int classes, int64_t steps, int64_t *found, int32_t *labels,
                       int64_t *lengths, double *scores, double *weights)
{
    int64_t all = grammar->classes;
    Room room = {
        malloc(width * sizeof(Beam)),      malloc(width * sizeof(Beam)),
        malloc(width * sizeof(double)),    malloc(width * sizeof(Candidate)),
        malloc(width * sizeof(int32_t)),   malloc((classes + 1) * sizeof(int32_t)),
        calloc(width * all, 1),            malloc((steps + 1) * width * sizeof(int32_t)),
        malloc((steps + 1) * width * sizeof(int32_t)),
    };
    int ready = room.beams && room.next && room.stay && room.heap && room.order && room.chosen && room.taken &&
                room.source && room.joined;
    for (int64_t i = 0; ready && i < n; i++) {
        int live = 1;
        room.beams[0] = (Beam){.blank = 0, .label = NONE, .hash = 1};
        for (int64_t k = 0; k < grammar->count; k++)
            room.beams[0].state[k] = grammar->automata[k].start;
        for (int64_t t = 0; t < frames[i]; t++)
            live = step(grammar, log_probs + i * stride + t * all, &room, live, width, classes,
                        room.source + t * width, room.joined + t * width);
        int64_t at = i * width;
        found[i] = finish(grammar, &room, live, frames[i], width, steps, labels + at * steps, lengths + at,
                          scores + at, weights + at);
    }
    free(room.beams), free(room.next), free(room.stay), free(room.heap), free(room.order), free(room.chosen);
    free(room.taken), free(room.source), free(room.joined);
    return ready ? 0 : -1;
}

/* What a grammar adds to each of N texts, labels one behind the other; NONE where one may not be read. */
EXPORT void crnn_weigh(const Grammar *grammar, int64_t n, const int64_t *labels, const int64_t *lengths,
                       double *weights)
{
    for (int64_t i = 0; i < n; labels += lengths[i++]) {
        int64_t state[MOST];
        for (int64_t k = 0; k < grammar->count; k++)
            state[k] = grammar->automata[k].start;
        weights[i] = grammar->bonus * lengths[i];
        for (int64_t k = 0; k <= lengths[i] && weights[i] > NONE; k++) {
            int64_t label = k < lengths[i] ? labels[k] : BLANK;
            weights[i] += weigh(grammar, state, label);
            if (label != BLANK && weights[i] > NONE)
                follow(grammar, state, label);
        }
    }
}

/* The states of CTC for a text: its labels with blanks between and around them, 2 L + 1 of them. */
static int64_t class_of(const int64_t *labels, int64_t state)
{
    return state % 2 ? labels[state / 2] : BLANK;
}

static int skips(const int64_t *labels, int64_t state) /* whether it is also reached from the one two before it */
{
    return state % 2 && state > 1 && labels[state / 2] != labels[state / 2 - 1];
}

static int64_t greatest_of(const int64_t *numbers, int64_t n) /* 0 at least */
{
    int64_t greatest = 0;
    for (int64_t i = 0; i < n; i++)
        greatest = numbers[i] > greatest ? numbers[i] : greatest;
    return greatest;
}

/* The forward variable at the end of each of N texts, and the logarithm of what was taken out of it on the way; see
   likelihood.py.

   log_probs and frames as above; labels, one text behind the other, lengths (N,). Returns 0, or -1 where memory is
   short. */
EXPORT int crnn_forward(const float *log_probs, int64_t stride, const int64_t *frames, int64_t n, int64_t classes,
                        const int64_t *labels, const int64_t *lengths, double *ends, double *taken)
{
    double *alpha = malloc((2 * greatest_of(lengths, n) + 1) * sizeof(double));
    if (!alpha)
        return -1;
    for (int64_t i = 0; i < n; labels += lengths[i++]) {
        int64_t states = 2 * lengths[i] + 1;
        taken[i] = 0;
        for (int64_t s = 0; s < states; s++)
            alpha[s] = 0;
        for (int64_t t = 0; t < frames[i]; t++) {
            const float *frame = log_probs + i * stride + t * classes;
            double peak = 0, blank, greatest = frame[BLANK];
            for (int64_t k = 0; k < lengths[i]; k++)
                greatest = frame[labels[k]] > greatest ? frame[labels[k]] : greatest;
            if (greatest == NONE)
                greatest = 0;
            blank = exp(frame[BLANK] - greatest);
            for (int64_t s = states - 1; s >= 0; s--) {
                double reached = t ? alpha[s] : s < 2;
                if (t && s)
                    reached += alpha[s - 1];
                if (t && skips(labels, s))
                    reached += alpha[s - 2];
                if (reached > 0)
                    reached *= s % 2 ? exp(frame[labels[s / 2]] - greatest) : blank;
                alpha[s] = reached;
                peak = reached > peak ? reached : peak;
            }
            if (peak > 0) {
                for (int64_t s = 0; s < states; s++)
                    alpha[s] /= peak;
                taken[i] += log(peak);
            }
            taken[i] += greatest;
        }
        ends[i] = frames[i] ? alpha[states - 1] + (states > 1 ? alpha[states - 2] : 0) : 0;
    }
    free(alpha);
    return 0;
}

/* Where the labels of each of N texts stand on their likeliest paths; see alignment.py. Arguments as of `crnn_forward`;
   `starts` and `ends` are like `labels`. */
EXPORT int crnn_align(const float *log_probs, int64_t stride, const int64_t *frames, int64_t n, int64_t classes,
                      const int64_t *labels, const int64_t *lengths, int64_t *starts, int64_t *ends)
{
    int64_t most = 2 * greatest_of(lengths, n) + 1;
    double *best = malloc(most * sizeof(double));
    uint8_t *moves = malloc(most * (greatest_of(frames, n) + 1)); /* how many states back the path came from */
    for (int64_t i = 0; best && moves && i < n; i++) {
        int64_t count = lengths[i], states = 2 * count + 1;
        for (int64_t t = 0; t < frames[i]; t++) {
            const float *frame = log_probs + i * stride + t * classes;
            for (int64_t s = states - 1; s >= 0; s--) {
                double way = t ? best[s] : s < 2 ? 0 : NONE;
                uint8_t move = 0;
                if (t && s && best[s - 1] > way) {
                    way = best[s - 1];
                    move = 1;
                }
                if (t && skips(labels, s) && best[s - 2] > way) {
                    way = best[s - 2];
                    move = 2;
                }
                best[s] = way + frame[class_of(labels, s)];
                moves[t * most + s] = move;
            }
        }
        int64_t state = count && frames[i] && best[states - 2] > best[states - 1] ? states - 2 : states - 1;
        for (int64_t k = 0; k < count; k++)
            starts[k] = ends[k] = 0;
        for (int64_t t = frames[i] - 1; t >= 0; t--) {
            if (state % 2) {
                starts[state / 2] = t;
                if (!ends[state / 2])
                    ends[state / 2] = t + 1;
            }
            state -= moves[t * most + state];
        }
        labels += count, starts += count, ends += count;
    }
    int ready = best && moves;
    free(best), free(moves);
    return ready ? 0 : -1;
}

/* NGRAMS: fills own->suffix, (parents,) of zeros, from short n-grams to long ones. */
EXPORT void crnn_suffixes(const Automaton *own, int64_t *suffix)
{
    for (int64_t context = 1; context < own->parents; context++)
        for (int64_t node = own->first[context]; node < own->first[context + 1] && node < own->parents; node++)
            suffix[node] = behind(own, suffix[context], own->keys[node - 1] - context * own->size);
}

/* To be raised with every change of a function or struct that Python knows: a file built before is not used then. */
EXPORT int crnn_version(void)
{
    return 2;
}

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&definition);
}
