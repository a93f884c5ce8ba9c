/* Beam search, forward algorithm and alignment, one image at a time. They give the results of the numpy code in
   beam.py, ctc_forward.py, alignment.py and the automata (grammar.py, language.py, lexicon_automaton.py, trie.py).

   Python calls `crnn_*` through ctypes, see native.py. The module itself is empty; it exists so that setuptools builds
   it like any extension. Without a compiler, numpy does the work. */

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
#define MAX_AUTOMATA 4 /* of a grammar */

enum { NGRAMS, LEXICON, TABLE };

/* An automaton of grammar.py. Its kind determines which arrays it has. */
typedef struct {
    int64_t kind, start;
    double scale;   /* the factor of all finite weights */
    double outside; /* LEXICON: the weight of a text that is not a word */
    int64_t size, parents;         /* see trie.py */
    const int64_t *keys, *first;   /* see trie.py */
    const int64_t *tokens;         /* (K,) the token of each label; NGRAMS: that of the end in place of BLANK */
    const double *probability, *weight, *unigrams; /* NGRAMS, see language.py */
    const int64_t *suffix;         /* NGRAMS */
    const uint8_t *marks;          /* NGRAMS: whether a node is a context; LEXICON: whether it is a word */
    const double *weights;         /* TABLE: (states, K) */
    const int64_t *next;           /* TABLE: (states, K) */
} Automaton;

typedef struct {
    int64_t classes, count;
    double bonus;
    const Automaton *automata;
} Grammar;

typedef struct {
    double blank, label;   /* log-probabilities of the paths that end in a blank, and in the last label */
    double sum;            /* the logarithm of the sum of both */
    double weight;         /* the weight that the grammar added */
    uint64_t hash, parent; /* hashes of the prefix, and of the prefix without its last label */
    int64_t last;          /* the last label, BLANK for the empty prefix */
    int64_t state[MAX_AUTOMATA];
} Beam;

typedef struct {
    double score, weight, label; /* `label` is that of a new Beam */
    int32_t source, joined;      /* the beam it comes from; the label that joins, BLANK where none does */
} Candidate;

/* Returns the logarithm of the sum of two numbers, given by their logarithms. */
static double log_add(double a, double b)
{
    if (a < b) {
        double c = a;
        a = b;
        b = c;
    }
    return b < a - 40 || b == NONE ? a : a + log1p(exp(b - a)); /* a double loses e^-40 */
}

/* Returns the child of a node, 0 if there is none. */
static int64_t child(const Automaton *automaton, int64_t node, int64_t token)
{
    if (node >= automaton->parents)
        return 0;
    int64_t key = node * automaton->size + token;
    int64_t low = automaton->first[node] - 1, high = automaton->first[node + 1] - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (automaton->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < automaton->first[node + 1] - 1 && automaton->keys[low] == key ? low + 1 : 0;
}

/* Returns the log-probability of a label after a context. */
static double ngram(const Automaton *automaton, int64_t state, int64_t label)
{
    int64_t token = automaton->tokens[label];
    double backed_off = 0;
    for (; state; state = automaton->suffix[state]) {
        int64_t node = child(automaton, state, token);
        if (node)
            return backed_off + automaton->probability[node];
        backed_off += automaton->weight[state];
    }
    return backed_off + automaton->unigrams[token];
}

/* Returns the weight of a label in a state, without the bonus; NONE where it may not follow. */
static double weigh(const Grammar *grammar, const int64_t *state, int64_t label)
{
    double total = 0;
    for (int64_t i = 0; i < grammar->count; i++) {
        const Automaton *automaton = grammar->automata + i;
        double weight = 0;
        if (automaton->kind == NGRAMS)
            weight = ngram(automaton, state[i], label);
        else if (automaton->kind == TABLE)
            weight = automaton->weights[state[i] * grammar->classes + label];
        else if (state[i] < automaton->parents)
            if (label == BLANK ? !automaton->marks[state[i]] : !child(automaton, state[i], automaton->tokens[label]))
                weight = automaton->outside;
        if (weight == NONE)
            return NONE;
        total += weight * automaton->scale;
    }
    return total;
}

/* NGRAMS: returns the longest context that ends in `token` after `context` or one of its suffixes. */
static int64_t next_context(const Automaton *automaton, int64_t context, int64_t token)
{
    for (;; context = automaton->suffix[context]) {
        int64_t node = child(automaton, context, token);
        if (node && node < automaton->parents && automaton->marks[node])
            return node;
        if (!context)
            return 0;
    }
}

/* Replaces a state by the one after a label. */
static void follow(const Grammar *grammar, int64_t *state, int64_t label)
{
    for (int64_t i = 0; i < grammar->count; i++) {
        const Automaton *automaton = grammar->automata + i;
        if (automaton->kind == TABLE) {
            state[i] = automaton->next[state[i] * grammar->classes + label];
            continue;
        }
        int64_t token = automaton->tokens[label];
        if (automaton->kind == LEXICON) {
            int64_t node = child(automaton, state[i], token);
            state[i] = node ? node : automaton->parents;
        } else {
            state[i] = next_context(automaton, state[i], token);
        }
    }
}

/* Returns the hash of a prefix with another label (splitmix64). */
static uint64_t hash_with(uint64_t prefix, int64_t label)
{
    uint64_t mixed = (prefix + (uint64_t)label) * UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    return mixed ^ (mixed >> 27);
}

/* Fills `chosen` with the `count` likeliest labels of a frame, best first; returns how many there are. */
static int likeliest(const float *frame, int64_t classes, int count, int32_t *chosen)
{
    int found = 0;
    for (int64_t label = 1; label < classes; label++) {
        if (isnan(frame[label]) || (found == count && !(frame[label] > frame[chosen[found - 1]])))
            continue;
        int index = found < count ? found++ : found - 1;
        for (; index && frame[chosen[index - 1]] < frame[label]; index--)
            chosen[index] = chosen[index - 1];
        chosen[index] = (int32_t)label;
    }
    return found;
}

/* Restores the order of a heap whose first element is the worst, from `index` on. */
static void sink(Candidate *heap, int size, int index)
{
    for (;;) {
        int worst = index, left = 2 * index + 1;
        if (left < size && heap[left].score < heap[worst].score)
            worst = left;
        if (left + 1 < size && heap[left + 1].score < heap[worst].score)
            worst = left + 1;
        if (worst == index)
            return;
        Candidate other = heap[index];
        heap[index] = heap[worst];
        heap[worst] = other;
        index = worst;
    }
}

/* Adds a candidate to a heap of the `width` best ones. */
static void offer(Candidate *heap, int *size, int width, Candidate one)
{
    if (*size < width) {
        heap[(*size)++] = one;
        if (*size == width)
            for (int index = width / 2; index >= 0; index--)
                sink(heap, width, index);
    } else if (one.score > heap->score) {
        *heap = one;
        sink(heap, width, 0);
    }
}

typedef struct {
    Beam *beams, *next;     /* (width,) */
    double *stay;           /* (width,) log-probability of the paths that end in a beam's last label */
    Candidate *heap;        /* (width,) */
    int32_t *order;         /* (width,) */
    int32_t *chosen;        /* (classes,) */
    uint8_t *taken;         /* (width, K): whether the prefix with this label is a beam itself */
    int32_t *source, *joined; /* (steps, width) */
} Workspace;

/* Processes one frame: keeps the best of all prefixes, as they are and with another label. Returns how many. */
static int step(const Grammar *grammar, const float *frame, Workspace *work, int live, int width, int classes,
                int32_t *source, int32_t *joined)
{
    Beam *beams = work->beams;
    int count = likeliest(frame, grammar->classes, classes, work->chosen), size = 0;

    /* A prefix that is a beam also gets the paths by which its parent, if that is a beam, grows into it. */
    for (int i = 0; i < live; i++)
        work->stay[i] = beams[i].last == BLANK ? NONE : beams[i].label + frame[beams[i].last];
    for (int i = 0; i < live; i++) {
        if (beams[i].last == BLANK)
            continue;
        for (int j = 0; j < live; j++)
            if (beams[i].parent == beams[j].hash) {
                double paths = beams[j].last == beams[i].last ? beams[j].blank : beams[j].sum;
                work->stay[i] = log_add(work->stay[i], paths + frame[beams[i].last]);
                work->taken[j * grammar->classes + beams[i].last] = 1;
            }
    }
    for (int i = 0; i < live; i++) {
        double score = log_add(beams[i].sum + frame[BLANK], work->stay[i]) + beams[i].weight;
        if (score > NONE)
            offer(work->heap, &size, width, (Candidate){score, beams[i].weight, work->stay[i], i, BLANK});
    }
    for (int i = 0; i < live; i++)
        for (int k = 0; k < count; k++) {
            int32_t label = work->chosen[k];
            double bound = beams[i].sum + frame[label] + beams[i].weight + grammar->bonus;
            if (!(bound > NONE) || (size == width && !(bound > work->heap->score)))
                break; /* further labels are less likely, and weights are 0 or less */
            double grown = (label == beams[i].last ? beams[i].blank : beams[i].sum) + frame[label];
            if (!(grown > NONE) || work->taken[i * grammar->classes + label])
                continue;
            double weight = weigh(grammar, beams[i].state, label);
            if (weight == NONE)
                continue;
            weight += beams[i].weight + grammar->bonus;
            offer(work->heap, &size, width, (Candidate){grown + weight, weight, grown, i, label});
        }
    for (int i = 0; i < live; i++)
        for (int j = 0; j < live; j++)
            work->taken[i * grammar->classes + beams[j].last] = 0;

    for (int i = 0; i < size; i++) {
        Candidate one = work->heap[i];
        Beam *beam = work->next + i;
        *beam = beams[one.source];
        beam->label = one.label;
        beam->weight = one.weight;
        if (one.joined == BLANK) {
            beam->blank = beams[one.source].sum + frame[BLANK];
        } else {
            beam->blank = NONE;
            beam->last = one.joined;
            beam->parent = beam->hash;
            beam->hash = hash_with(beam->hash, one.joined);
            follow(grammar, beam->state, one.joined);
        }
        beam->sum = log_add(beam->blank, beam->label);
        source[i] = one.source;
        joined[i] = one.joined;
    }
    work->beams = work->next;
    work->next = beams;
    return size;
}

/* Writes the hypotheses of one image, best first; returns how many. */
static int finish(const Grammar *grammar, Workspace *work, int live, int64_t steps, int width, int64_t length,
                  int32_t *labels, int64_t *lengths, double *scores, double *weights)
{
    int found = 0;
    for (int i = 0; i < live; i++) { /* insertion sort, because they are few */
        double weight = weigh(grammar, work->beams[i].state, BLANK) + work->beams[i].weight;
        double score = work->beams[i].sum + weight;
        if (!(score > NONE))
            continue;
        int index = found++;
        for (; index && scores[index - 1] < score; index--) {
            scores[index] = scores[index - 1];
            weights[index] = weights[index - 1];
            work->order[index] = work->order[index - 1];
        }
        scores[index] = score;
        weights[index] = weight;
        work->order[index] = i;
    }
    for (int i = 0; i < found; i++) {
        int32_t beam = work->order[i];
        int64_t end = length;
        for (int64_t t = steps - 1; t >= 0; t--) {
            int32_t joined = work->joined[t * width + beam];
            if (joined != BLANK)
                labels[i * length + --end] = joined;
            beam = work->source[t * width + beam];
        }
        lengths[i] = length - end;
    }
    return found;
}

/* Searches each of N images; see beam.py.

   log_probs (N, T, K) has `stride` numbers for each image; frames (N,) are at most T. Each image gets `found`
   hypotheses, at most `width`, best first: the last `lengths` of T `labels`, `scores` and `weights`, (N, width, ...).
   Returns 0, or -1 if there is not enough memory. */
EXPORT int crnn_search(const float *log_probs, int64_t stride, const int64_t *frames, int64_t n,
                       const Grammar *grammar, int width, int classes, int64_t steps, int64_t *found, int32_t *labels,
                       int64_t *lengths, double *scores, double *weights)
{
    int64_t all = grammar->classes;
    Workspace work = {
        malloc(width * sizeof(Beam)),      malloc(width * sizeof(Beam)),
        malloc(width * sizeof(double)),    malloc(width * sizeof(Candidate)),
        malloc(width * sizeof(int32_t)),   malloc((classes + 1) * sizeof(int32_t)),
        calloc(width * all, 1),            malloc((steps + 1) * width * sizeof(int32_t)),
        malloc((steps + 1) * width * sizeof(int32_t)),
    };
    int ready = work.beams && work.next && work.stay && work.heap && work.order && work.chosen && work.taken &&
                work.source && work.joined;
    for (int64_t i = 0; ready && i < n; i++) {
        int live = 1;
        work.beams[0] = (Beam){.blank = 0, .label = NONE, .hash = 1};
        for (int64_t k = 0; k < grammar->count; k++)
            work.beams[0].state[k] = grammar->automata[k].start;
        for (int64_t t = 0; t < frames[i]; t++)
            live = step(grammar, log_probs + i * stride + t * all, &work, live, width, classes,
                        work.source + t * width, work.joined + t * width);
        int64_t at = i * width;
        found[i] = finish(grammar, &work, live, frames[i], width, steps, labels + at * steps, lengths + at,
                          scores + at, weights + at);
    }
    free(work.beams), free(work.next), free(work.stay), free(work.heap), free(work.order), free(work.chosen);
    free(work.taken), free(work.source), free(work.joined);
    return ready ? 0 : -1;
}

/* Writes the weight of each of N texts, whose labels are concatenated; NONE where one may not be read. */
EXPORT void crnn_weigh(const Grammar *grammar, int64_t n, const int64_t *labels, const int64_t *lengths,
                       double *weights)
{
    for (int64_t i = 0; i < n; labels += lengths[i++]) {
        int64_t state[MAX_AUTOMATA];
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

/* Returns the class of a CTC state. A text has 2 L + 1 states: its labels with blanks between and around them. */
static int64_t class_of(const int64_t *labels, int64_t state)
{
    return state % 2 ? labels[state / 2] : BLANK;
}

/* Returns whether a state can also be reached from two states before it. */
static int skips(const int64_t *labels, int64_t state)
{
    return state % 2 && state > 1 && labels[state / 2] != labels[state / 2 - 1];
}

/* Returns the greatest of n numbers, or 0 if all are less. */
static int64_t greatest_of(const int64_t *numbers, int64_t n)
{
    int64_t greatest = 0;
    for (int64_t i = 0; i < n; i++)
        greatest = numbers[i] > greatest ? numbers[i] : greatest;
    return greatest;
}

/* Writes the forward variable at the end of each of N texts, and the logarithm of its scale; see ctc_forward.py.

   log_probs and frames are as above; labels of all texts are concatenated, lengths are (N,). Returns 0, or -1 if there
   is not enough memory. */
EXPORT int crnn_forward(const float *log_probs, int64_t stride, const int64_t *frames, int64_t n, int64_t classes,
                        const int64_t *labels, const int64_t *lengths, double *ends, double *log_scales)
{
    double *alpha = malloc((2 * greatest_of(lengths, n) + 1) * sizeof(double));
    if (!alpha)
        return -1;
    for (int64_t i = 0; i < n; labels += lengths[i++]) {
        int64_t states = 2 * lengths[i] + 1;
        log_scales[i] = 0;
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
                log_scales[i] += log(peak);
            }
            log_scales[i] += greatest;
        }
        ends[i] = frames[i] ? alpha[states - 1] + (states > 1 ? alpha[states - 2] : 0) : 0;
    }
    free(alpha);
    return 0;
}

/* Writes the spans of the labels of each of N texts on their likeliest paths; see alignment.py. The arguments are those
   of `crnn_forward`; `starts` and `ends` are like `labels`. */
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
                double reached = t ? best[s] : s < 2 ? 0 : NONE;
                uint8_t move = 0;
                if (t && s && best[s - 1] > reached) {
                    reached = best[s - 1];
                    move = 1;
                }
                if (t && skips(labels, s) && best[s - 2] > reached) {
                    reached = best[s - 2];
                    move = 2;
                }
                best[s] = reached + frame[class_of(labels, s)];
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

/* NGRAMS: fills automaton->suffix, (parents,) of zeros, from short n-grams to long ones. */
EXPORT void crnn_suffixes(const Automaton *automaton, int64_t *suffix)
{
    for (int64_t context = 1; context < automaton->parents; context++) {
        int64_t end = automaton->first[context + 1];
        for (int64_t node = automaton->first[context]; node < end && node < automaton->parents; node++) {
            int64_t token = automaton->keys[node - 1] - context * automaton->size;
            suffix[node] = next_context(automaton, suffix[context], token);
        }
    }
}

/* Returns a version that must be raised with every change of a function or struct that Python uses, so that a file
   built before is not used. */
EXPORT int crnn_version(void)
{
    return 2;
}

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&definition);
}
