/*-------------------------------------------------------------------------
 *
 * contact.h
 *	  Is this server still one of those that agree?
 *
 * Locking: the spinlocks of the server's WAL receiver and WAL senders, for a few
 * reads each, and none of ours.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CONTACT_H
#define UT_CONTACT_H

#include "base/problem.h"

/* Defines the setting max_silence. */
extern void ut_contact_init(void);

/* Bytes of shared memory, and what sets them up; the caller holds AddinShmemInitLock. */
extern Size ut_contact_size(void);
extern void ut_contact_start(void);

/*
 * False, and a refusal of 57P03, when nothing was heard from the other servers
 * for longer than max_silence: on a standby from its primary, on a primary with
 * synchronous_standby_names from any of these.  Whoever cannot be heard may have
 * deleted a token meanwhile, and have answered so.
 */
extern bool ut_contact_permit(UtProblem *problem);

#endif							/* UT_CONTACT_H */
