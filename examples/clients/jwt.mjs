// A JWT for PostgREST (HS256, RFC 7519): what it says, signed with the secret of postgrest.conf's jwt-secret.

import { createHmac } from 'node:crypto';

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

// secret: the text in the file, as it is there.  seconds: how long it counts.
export function makeJwt(secret, role, seconds = 60) {
	const content = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ role, exp: Math.floor(Date.now() / 1000) + seconds })}`;
	return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`;
}
