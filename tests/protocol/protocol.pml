/* How tasks pass between coordinators, nodes and the database: claim, start, report, lost, retry, lease, leader.
 *
 * An atomic step is what the locks of the database make one: a report locks the row of its task before it looks, so it is
 * a single step; a claim locks and reads piece by piece, so it is several. Time is left out: whatever may take long, may
 * take for ever, and each time that a deadline passes which a healthy cluster keeps costs one of FAULTS.
 *
 * Given by the caller: COORDINATORS, NODES (1 or 2), TASKS (1 or 2), FAULTS, and transitions.h, made from the library's
 * own table. A protection is taken away by -DWITHOUT_...; -DONLY=... judges one property alone. */

#include "transitions.h"

#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef MAX_RETRIES
#define MAX_RETRIES 1
#endif
#ifndef ONLY
#define ONLY 0
#endif

#define FREE 255                    /* a lock that nobody has */
#define NOBODY 255

mtype:status = { PENDING, SCHEDULED, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT };
mtype:phase = { DOWN, IDLE, CLAIMING, GIVEN, STARTING, RELEASING, WORKING, REPORTING };
mtype:request = { NONE, CLAIM, START, COMPLETE, FAIL, RELEASE };

/* The properties. The names are those of the table that `make model` prints. */
#define PROPERTY(number, condition) if :: (ONLY == 0 || ONLY == number) -> assert(condition) :: else fi
#define along_the_table(t, next)  PROPERTY(1, ALLOWED(status[t], next))
#define one_holder(t)             PROPERTY(2, !both_hold(t))
#define within_slots(n)           PROPERTY(3, held(n) <= SLOTS)
#define of_this_attempt(t, a)     PROPERTY(4, a == attempt[t])
#define one_report(t, a)          PROPERTY(5, a > reported[t])
#define bounded_retries(t)        PROPERTY(6, retry_count[t] <= MAX_RETRIES + 1 && runs[t] <= MAX_RETRIES + 1)
#define of_this_life(n, life)     PROPERTY(7, life == incarnation[n])
#define of_this_term(t)           PROPERTY(8, t == term)
#define not_heard(n)              PROPERTY(9, silent[n])
#define nothing_on_lost(n)        PROPERTY(10, online[n] || held(n) == 0)

/* What must happen somewhere, so that the properties are not kept for want of trouble. */
#define happens(number) if :: ONLY == number -> assert(false) :: else fi
#define a_late_report_is_refused  happens(101)
#define an_earlier_life_is_refused happens(102)
#define a_full_node_gets_nothing  happens(103)
#define a_former_leader_is_refused happens(104)
#define a_node_is_heard_in_time   happens(105)
#define a_lost_node_held_a_task   happens(106)
#define a_retry_is_the_last       happens(107)
#define a_commit_is_unknown       happens(108)

typedef Message { mtype:request request; byte life; byte task; byte attempt };

/* What the database holds. */
mtype:status status[2] = PENDING;
byte assigned_node[2] = NOBODY;
byte attempt[2];
byte retry_count[2];
bool online[2];
byte incarnation[2];
bool silent[2];                     /* the stored heartbeat is older than node_timeout */
byte leader = NOBODY;
byte term;
bool lapsed = true;                 /* the leader's time is up: others may campaign */
byte node_lock[2] = FREE;
byte task_lock[2] = FREE;

/* What the nodes know, and what is on the way. A node waits for one answer at a time. */
mtype:phase phase[2] = DOWN;
byte life[2];
byte work[2];                       /* the task that it was given last, and the attempt */
byte work_attempt[2];
mtype:request asked[2] = NONE;      /* sent, and not yet taken up by a coordinator */
byte handler[2] = NOBODY;           /* who will answer */
Message late[2];                    /* a message that was held up, or doubled */

/* Kept for the properties only. */
byte reported[2];                   /* the last attempt that a report was accepted of */
byte runs[2];                       /* how many attempts ended after they ran */

byte faults = FAULTS;

#define is_task(t)      (t < TASKS)
#define is_held(t)      (status[t] == SCHEDULED || status[t] == RUNNING)
#define is_held_by(t,n) (is_task(t) && is_held(t) && assigned_node[t] == n)
#define held(n)         ((is_held_by(0, n) -> 1 : 0) + (is_held_by(1, n) -> 1 : 0))
#define is_ended(t)     (!is_task(t) || !(status[t] == PENDING || is_held(t)))
#define all_ended       (is_ended(0) && is_ended(1))
#define is_waiting(t)   (is_task(t) && status[t] == PENDING)
#define has_work(n)     (phase[n] == GIVEN || phase[n] == STARTING || phase[n] == RELEASING || phase[n] == WORKING || phase[n] == REPORTING)
#define works_on(n,t)   (has_work(n) && work[n] == t && work_attempt[n] == attempt[t])
#define both_hold(t)    (works_on(0, t) && works_on(1, t))
#define is_orphan(t)    (is_held(t) && !works_on(assigned_node[t], t))
#define can_take(t)     (is_waiting(t) && task_lock[t] == FREE)

/* Steps of a task's life, as in domain/lifecycle.py. The caller holds the row. */

inline move(t, next) { along_the_table(t, next); status[t] = next }

inline queued(t) { move(t, PENDING); assigned_node[t] = NOBODY }

#ifdef WITHOUT_RETRY_LIMIT
#define has_retries(t) (retry_count[t] < 4)
#else
#define has_retries(t) (retry_count[t] <= MAX_RETRIES)
#endif

inline unsuccessful(t, end) {
    retry_count[t]++;
    if
    :: has_retries(t) -> queued(t)
    :: else -> a_retry_is_the_last; move(t, end)
    fi;
    bounded_retries(t)
}

inline abandoned(t) {
    if
    :: status[t] == SCHEDULED -> queued(t)
    :: else -> runs[t]++; unsuccessful(t, FAILED)
    fi
}

inline abandon(n) {
    if :: is_held_by(0, n) -> abandoned(0) :: else fi;
    if :: is_held_by(1, n) -> abandoned(1) :: else fi
}

/* What a node hears of its request. No answer: it cannot know what became of it. */

inline accepted(n) {
    if
    :: phase[n] == STARTING -> phase[n] = WORKING
    :: else -> phase[n] = IDLE
    fi
}

/* Of a claim: its life has ended, it drops all work and registers again. Of a report: its attempt has ended. */
inline refused(n) { phase[n] = (phase[n] == CLAIMING -> DOWN : IDLE) }

inline unanswered(n) {
    if
    :: phase[n] == CLAIMING -> phase[n] = IDLE
    :: phase[n] == STARTING || phase[n] == RELEASING -> phase[n] = GIVEN      /* it asks again */
    :: phase[n] == REPORTING -> phase[n] = WORKING                           /* it reports again, perhaps something else */
    :: else
    fi
}

inline put_late(n, what) {
    late[n].request = what;
    late[n].life = life[n];
    late[n].task = (what == CLAIM -> 0 : work[n]);
    late[n].attempt = (what == CLAIM -> 0 : work_attempt[n])
}

inline clear_late(n) { late[n].request = NONE; late[n].life = 0; late[n].task = 0; late[n].attempt = 0 }

/* The node has ended or given up waiting; what it sent may still arrive. */
inline leave_behind(n) {
    if
    :: asked[n] != NONE && late[n].request == NONE -> put_late(n, asked[n])
    :: else
    fi;
    asked[n] = NONE;
    handler[n] = NOBODY
}

inline ask(n, what, waiting) { asked[n] = what; phase[n] = waiting }

inline forget_work(n) { work[n] = 0; work_attempt[n] = 0 }

inline register() {
    abandon(n);
    incarnation[n]++;
    online[n] = true;
    silent[n] = false;
    life[n] = incarnation[n];
    forget_work(n);
    phase[n] = IDLE
}

proctype node(byte n) {
    do
    :: all_ended -> break
    :: atomic { phase[n] == DOWN && node_lock[n] == FREE -> register() }
    /* A heartbeat or a claim was refused: it was lost. Until it learns, it goes on working. */
    :: atomic { phase[n] != DOWN && life[n] != incarnation[n] && node_lock[n] == FREE -> leave_behind(n); register() }
    :: atomic { phase[n] != DOWN && silent[n] && online[n] && life[n] == incarnation[n] -> silent[n] = false }
    /* While nothing fails any more, a claim that cannot get anything is not asked for again and again. */
    :: atomic { phase[n] == IDLE && (is_waiting(0) || is_waiting(1)) && (held(n) < SLOTS || faults > 0) -> forget_work(n); ask(n, CLAIM, CLAIMING) }
    :: atomic { phase[n] == GIVEN -> ask(n, START, STARTING) }
    :: atomic { phase[n] == GIVEN && faults > 0 -> faults--; ask(n, RELEASE, RELEASING) }
    :: atomic { phase[n] == WORKING -> ask(n, COMPLETE, REPORTING) }
    :: atomic { phase[n] == WORKING -> ask(n, FAIL, REPORTING) }
    :: atomic { phase[n] != DOWN && faults > 0 -> faults--; leave_behind(n); forget_work(n); phase[n] = DOWN; silent[n] = true }
    od
}

inline done() {
    message.request = NONE; message.life = 0; message.task = 0; message.attempt = 0; first = false; n = 0; t = 0
}

inline unlock() {
    if :: node_lock[n] == me -> node_lock[n] = FREE :: else fi;
    if :: is_task(t) && task_lock[t] == me -> task_lock[t] = FREE :: else fi
}

/* The program dies: its locks go with its connection, its leadership when its time is up, its name for ever. */
inline crash() {
    faults--;
    unlock();
    if :: handler[n] == me -> handler[n] = NOBODY; unanswered(n) :: else fi;
    if :: leader == me -> leader = NOBODY; lapsed = true :: else fi;
    mine = 0;
    done()
}

#define expects_answer (first && handler[n] == me)

#define answer(what) if :: expects_answer -> handler[n] = NOBODY; what(n) :: else fi

inline choose() {
    atomic {
        if
        :: can_take(0) -> t = 0
        :: can_take(1) -> t = 1
        :: !can_take(0) && !can_take(1) -> t = NOBODY
        fi;
        if
        :: t != NOBODY ->
#ifndef WITHOUT_TASK_LOCK
            task_lock[t] = me;
#endif
            message.task = t;
            message.attempt = attempt[t] + 1
        :: else
        fi
    }
}

inline write_placed() {
    of_this_life(n, message.life);
#ifdef START_AT_CLAIM
    status[t] = RUNNING;
#else
    status[t] = SCHEDULED;
#endif
    assigned_node[t] = n;
    attempt[t] = message.attempt;
    within_slots(n);
    nothing_on_lost(n)
}

inline give() {
    if
    :: expects_answer ->
        handler[n] = NOBODY;
        work[n] = t;
        work_attempt[n] = message.attempt;
#ifdef START_AT_CLAIM
        phase[n] = WORKING;
#else
        phase[n] = GIVEN;
#endif
        one_holder(t)
    :: else
    fi
}

inline place() {
    atomic {
        if
        :: t == NOBODY -> answer(unanswered); unlock(); done()
        :: t != NOBODY -> write_placed(); give(); unlock(); done()
        :: t != NOBODY && faults > 0 -> faults--; write_placed(); answer(unanswered); unlock(); done()   /* the answer is lost */
        :: t != NOBODY && faults > 0 -> faults--; answer(unanswered); unlock(); done()        /* the COMMIT did not happen */
        :: faults > 0 -> crash()
        fi
    }
}

/* The claim of repositories/placement.py: lock the node, count what it holds, lock a task, place it. */
inline claim() {
#ifndef WITHOUT_SLOT_LOCK
    atomic { node_lock[n] == FREE -> node_lock[n] = me }
#endif
    atomic {
        if
        :: !online[n] -> t = NOBODY; answer(refused)
#ifndef WITHOUT_INCARNATION_CHECK
        :: online[n] && message.life != incarnation[n] -> an_earlier_life_is_refused; t = NOBODY; answer(refused)
        :: online[n] && message.life == incarnation[n] -> t = (held(n) < SLOTS -> 0 : NOBODY)
#else
        :: online[n] -> t = (held(n) < SLOTS -> 0 : NOBODY)
#endif
        fi
    }
    if
    :: t != NOBODY -> choose(); place()
    :: else -> a_full_node_gets_nothing; atomic { answer(unanswered); unlock(); done() }
    fi
}

#if defined(WITHOUT_FINAL_STATUSES)
#define holds (message.attempt == attempt[t])
#elif defined(WITHOUT_ATTEMPT_CHECK)
#define holds is_held(t)
#else
#define holds (is_held(t) && message.attempt == attempt[t])
#endif

inline note_report() {
    of_this_attempt(t, message.attempt);
    one_report(t, message.attempt);
    reported[t] = message.attempt
}

inline take_report() {
    if
    :: !holds -> a_late_report_is_refused; answer(refused)
    :: holds ->
        if
        :: message.request == START ->
            if :: status[t] == SCHEDULED -> move(t, RUNNING) :: else fi   /* running already: it was started before */
        :: message.request == RELEASE -> queued(t)
        :: message.request == COMPLETE && status[t] == RUNNING -> note_report(); runs[t]++; move(t, COMPLETED); bounded_retries(t)
        :: message.request == COMPLETE && status[t] != RUNNING                            /* refused: it was not started */
        :: message.request == FAIL ->
            note_report();
            if :: status[t] == RUNNING -> runs[t]++ :: else fi;
            unsuccessful(t, FAILED)
        fi;
        if
        :: answer(accepted)
        :: faults > 0 -> faults--; a_commit_is_unknown; answer(unanswered)                /* the answer is lost */
        fi
    fi
}

/* start, complete, fail, release: one row, locked, looked at and written. */
inline report() {
    atomic {
        task_lock[message.task] == FREE -> t = message.task;
        if
        :: take_report()
        :: faults > 0 -> faults--; answer(unanswered)                                     /* the COMMIT did not happen */
        :: faults > 0 -> crash()
        fi;
        done()
    }
}

/* Housekeeping: repositories/leaders.py, state/housekeeping.py, state/liveness.py. */
inline campaign() {
    lapsed = false;
    if
    :: leader != me -> leader = me; term++; mine = term
    :: else
    fi
}

#ifdef WITHOUT_TERM_CHECK
#define leads true
#else
#define leads (mine == term)
#endif
#ifdef WITHOUT_SECOND_LOOK
#define still_silent online[n]
#else
#define still_silent (online[n] && silent[n])
#endif

inline mark_lost() {
    atomic {
        node_lock[n] == FREE;
        if
        :: leads && still_silent ->
            of_this_term(mine);
            not_heard(n);
            if :: held(n) > 0 -> a_lost_node_held_a_task :: else fi;
            abandon(n);
            incarnation[n]++;
            online[n] = false;
            nothing_on_lost(n)
        :: leads && !still_silent -> a_node_is_heard_in_time
        :: !leads -> a_former_leader_is_refused; mine = 0
        :: faults > 0 -> crash()
        fi;
        done()
    }
}

/* A lease of a held task has run out: nobody starts it, or its node was not heard of. */
#define lease_expires(k) (status[k] == SCHEDULED && is_orphan(k) || status[k] == RUNNING && silent[assigned_node[k]])
#define lease_too_short(k) (status[k] == SCHEDULED && !is_orphan(k) && faults > 0)
#ifdef TASK_TIMEOUT
#define times_out(k) (status[k] == RUNNING)
#else
#define times_out(k) false
#endif
#ifdef WITHOUT_LEASES
#define keeps_leases false
#else
#define keeps_leases true
#endif
#define may_expire(k) (keeps_leases && is_task(k) && task_lock[k] == FREE && (lease_expires(k) || lease_too_short(k) || times_out(k)))

inline expire(k) {
    atomic {
        mine != 0 && may_expire(k);
        if
        :: !leads -> mine = 0
        :: leads && lease_expires(k) -> of_this_term(mine); abandoned(k)
        :: leads && lease_too_short(k) -> faults--; of_this_term(mine); queued(k)
        :: leads && times_out(k) -> of_this_term(mine); runs[k]++; unsuccessful(k, TIMEOUT)
        fi
    }
}

inline serve() {
    if
    :: message.request == CLAIM -> claim()
    :: else -> report()
    fi
}

proctype coordinator(byte me) {
    byte n, t, mine;                /* mine: the term in which it believes to lead; 0: it does not */
    Message message;
    bool first;                     /* whether the node waits for this answer */
    do
    :: all_ended -> break
    :: atomic {
        if
        :: asked[0] != NONE -> n = 0
        :: asked[1] != NONE -> n = 1
        fi;
        message.request = asked[n];
        message.life = life[n];
        message.task = work[n];
        message.attempt = work_attempt[n];
        asked[n] = NONE;
        handler[n] = me;
        first = true
       }
       serve()
    :: atomic {
        if
        :: late[0].request != NONE -> n = 0
        :: late[1].request != NONE -> n = 1
        fi;
        message.request = late[n].request;
        message.life = late[n].life;
        message.task = late[n].task;
        message.attempt = late[n].attempt;
        clear_late(n);
        first = false
       }
       serve()
    :: atomic { lapsed -> campaign() }
    /* What it reads here may be old when it acts on it: the program may be stopped in between. */
    :: atomic { mine != 0 && silent[0] && online[0] -> n = 0 } mark_lost()
    :: atomic { mine != 0 && silent[1] && online[1] -> n = 1 } mark_lost()
    :: expire(0)
    :: expire(1)
    od
}

inline befall(k) {
    if
    :: atomic { asked[k] != NONE && faults > 0 -> faults--; asked[k] = NONE; unanswered(k) }              /* lost */
    :: atomic { asked[k] != NONE && late[k].request == NONE && faults > 0 -> faults--; put_late(k, asked[k]) } /* doubled */
    :: atomic { asked[k] != NONE && late[k].request == NONE && faults > 0 -> faults--; leave_behind(k); unanswered(k) } /* held up */
    :: atomic { handler[k] != NOBODY && faults > 0 -> faults--; handler[k] = NOBODY; unanswered(k) }      /* no patience */
    :: atomic { phase[k] != DOWN && online[k] && !silent[k] && faults > 0 -> faults--; silent[k] = true } /* cannot be heard */
    fi
}

/* What befalls messages, nodes and leaders, as long as there are faults left. */
proctype trouble() {
    do
    :: all_ended || faults == 0 -> break
    :: befall(0)
    :: befall(1)
    :: atomic { !lapsed && leader != NOBODY && faults > 0 -> faults--; lapsed = true }                   /* the leader is stopped */
    :: atomic { !is_ended(0) && task_lock[0] == FREE && faults > 0 -> faults--; move(0, CANCELLED) } /* nobody wants it */
    od
}

init {
    atomic {
        byte k;
        for (k : 0 .. 1) { late[k].request = NONE; phase[k] = DOWN; asked[k] = NONE }
        for (k : 0 .. NODES - 1) { run node(k) }
        for (k : 0 .. COORDINATORS - 1) { run coordinator(k) }
        run trouble()
    }
}

ltl every_task_ends { <> all_ended }
