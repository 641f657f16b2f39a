-- A channel's stream: one hash, so that whatever happens to the key (it expires, it is evicted, its slot moves) happens to all
-- of the stream. Its fields:
--
--   m        "epoch last floor bytes oldest origin": the stream's number, the newest message's offset, the offset of the newest
--            message that is no longer kept, the bytes that are kept, a time that no kept message is older than, and which
--            server's data it was written to
--   <n>      "time node number payload": the message of offset n
--   w<node>  "number offset": the last message of a node
--   W        "node node ...": the nodes that have such a field
--
-- Times are milliseconds of this server's clock.
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The identity of this server's data: another one after a failover or a restart.
local function replication_id(otherwise)
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or otherwise
end

-- The stream, which begins anew when another server has written it: nobody knows whether it has all of it.
local function load(epoch, origin)
  -- Whoever asks has not met this server yet.
  if origin == '' then origin = replication_id('') end
  local meta = redis.call('HGET', key, 'm')
  if not meta then
    return { epoch = epoch, last = 0, floor = 0, bytes = 0, oldest = 0, origin = origin, changed = true }
  end
  local e, last, floor, bytes, oldest, o = string.match(meta, '^(%x+) (%d+) (%d+) (%d+) (%d+) (.*)$')
  local stream = { epoch = e, last = tonumber(last), floor = tonumber(floor), bytes = tonumber(bytes),
    oldest = tonumber(oldest), origin = o, changed = false }
  if o ~= origin then
    -- Whoever asks may know an older server than the one that this is.
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

-- The payload's place in an entry, who wrote it, and when.
local function parts(entry)
  local _, head, time, node, number = string.find(entry, '^(%d+) (%x+) (%d+) ')
  return head, tonumber(time), node, tonumber(number)
end

-- The offsets that are kept no longer. `fresh` are entries that are not stored yet.
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

-- A command with many arguments, a thousand at a time.
local function call_with(name, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(name, key, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end
