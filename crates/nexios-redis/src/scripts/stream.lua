-- A channel's stream is one hash, so that expiry, eviction and slot migration of the key apply to the whole stream. Its
-- fields:
--
--   m        "epoch last floor bytes oldest origin": the stream's epoch, the newest offset, the offset of the newest message
--            that is no longer kept, the kept bytes, a lower bound of the kept messages' times, and the replication id of
--            the server that has written it
--   <n>      "time node number payload": the message of offset n
--   w<node>  "number offset": the last message of a node
--   W        "node node ...": the nodes that have a w field
--
-- Times are milliseconds of this server's clock.
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The replication id of this server's data, which changes with a failover or a restart.
local function replication_id(otherwise)
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or otherwise
end

-- Loads the stream. It gets a new epoch when another server has written it: its end may be missing.
local function load(epoch, origin)
  -- The caller does not know this server's id yet.
  if origin == '' then origin = replication_id('') end
  local meta = redis.call('HGET', key, 'm')
  if not meta then
    return { epoch = epoch, last = 0, floor = 0, bytes = 0, oldest = 0, origin = origin, changed = true }
  end
  local e, last, floor, bytes, oldest, o = string.match(meta, '^(%x+) (%d+) (%d+) (%d+) (%d+) (.*)$')
  local stream = { epoch = e, last = tonumber(last), floor = tonumber(floor), bytes = tonumber(bytes),
    oldest = tonumber(oldest), origin = o, changed = false }
  if o ~= origin then
    -- The caller's id may be outdated.
    local here = replication_id(origin)
    if here ~= o then
      stream.epoch, stream.origin, stream.changed = epoch, here, true
    end
  end
  return stream
end

local function meta(stream)
  return string.format('%s %.0f %.0f %.0f %.0f %s', stream.epoch, stream.last, stream.floor, stream.bytes, stream.oldest,
    stream.origin)
end

-- Parses the header of an entry: its length, the time, the node and the number.
local function parts(entry)
  local _, head, time, node, number = string.find(entry, '^(%d+) (%x+) (%d+) ')
  return head, tonumber(time), node, tonumber(number)
end

-- Trims the stream and returns the removed offsets. `fresh` are entries that are not stored yet.
local function trim(stream, messages, bytes, age, fresh)
  local gone = {}
  while stream.floor < stream.last do
    local crowded = stream.last - stream.floor > messages or stream.bytes > bytes
    if not crowded and stream.oldest + age >= now then break end
    local offset = stream.floor + 1
    local entry = fresh[offset] or redis.call('HGET', key, offset)
    local head, time = parts(entry)
    stream.oldest = time
    if not crowded and time + age >= now then break end
    stream.floor = offset
    stream.bytes = stream.bytes - (#entry - head)
    gone[#gone + 1] = offset
    stream.changed = true
  end
  return gone
end

-- Calls a command with many arguments, a thousand at a time.
local function call_with(name, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(name, key, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end
