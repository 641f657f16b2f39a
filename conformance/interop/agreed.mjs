// What the server answers to an offer that leaves the windows to it, for each setting of its compression.
const BY_ITSELF = 'server_no_context_takeover; client_no_context_takeover'

export const AGREED = { off: '', shared: `permessage-deflate; ${BY_ITSELF}`, dedicated: 'permessage-deflate' }
