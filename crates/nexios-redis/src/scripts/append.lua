-- KEYS: the stream. ARGV: the epoch of a new stream; the server's replication id as the caller knows it; the bounds on
-- messages, bytes and milliseconds; the node; the least number that the node's last message must have; PUBLISH or SPUBLISH;
-- and for each message its number and payload.
-- Returns the epoch and the offset of each message: 0 for a duplicate whose offset is no longer known.
local MAX_WRITERS = 64

local stream = load(ARGV[1], ARGV[2])
local node, after, publish = ARGV[6], tonumber(ARGV[7]), ARGV[8]
local writer = redis.call('HGET', key, 'w' .. node)
local number, at = 0, 0
if writer then
  local n, o = string.match(writer, '^(%d+) (%d+)$')
  number, at = tonumber(n), tonumber(o)
end
-- The previous call of the same batch has failed: its messages must be appended first.
if number < after then
  return redis.error_reply('NEXIOSORDER a message before this one is missing')
end

local offsets, duplicates, fresh, sent = {}, {}, {}, {}
local last_known = at
for i = 9, #ARGV, 2 do
  local this = tonumber(ARGV[i])
  if this <= number then
    duplicates[#duplicates + 1] = { #offsets + 1, this }
    offsets[#offsets + 1] = 0
  else
    local payload = ARGV[i + 1]
    if stream.floor == stream.last then stream.oldest = now end
    stream.last = stream.last + 1
    stream.bytes = stream.bytes + #payload
    fresh[stream.last] = string.format('%.0f %s %s ', now, node, ARGV[i]) .. payload
    sent[#sent + 1] = { stream.last, payload }
    offsets[#offsets + 1] = stream.last
    number, at = this, stream.last
  end
end

-- Finds the duplicates, backwards from the writer's last message.
local offset = last_known
for d = #duplicates, 1, -1 do
  while offset > stream.floor do
    local _, _, by, which = parts(redis.call('HGET', key, offset))
    if by == node and which == duplicates[d][2] then offsets[duplicates[d][1]] = offset end
    if by == node and which <= duplicates[d][2] then break end
    offset = offset - 1
  end
end

local write = {}
local gone = {}
if #sent > 0 then
  gone = trim(stream, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), fresh)
  for kept = math.max(stream.floor + 1, sent[1][1]), stream.last do
    write[#write + 1] = kept
    write[#write + 1] = fresh[kept]
  end
  write[#write + 1] = 'w' .. node
  write[#write + 1] = string.format('%.0f %.0f', number, at)
  if not writer then
    local writers = {}
    for other in string.gmatch(redis.call('HGET', key, 'W') or '', '%x+') do writers[#writers + 1] = other end
    if #writers >= MAX_WRITERS then
      -- Evicts the writer whose last message is the oldest.
      local oldest, since
      for i, other in ipairs(writers) do
        local o = tonumber(string.match(redis.call('HGET', key, 'w' .. other) or '0 0', ' (%d+)$'))
        if not since or o < since then oldest, since = i, o end
      end
      gone[#gone + 1] = 'w' .. table.remove(writers, oldest)
    end
    writers[#writers + 1] = node
    write[#write + 1] = 'W'
    write[#write + 1] = table.concat(writers, ' ')
  end
  stream.changed = true
end

-- A server without memory refuses the first write, so the script writes all or nothing.
if stream.changed then
  write[#write + 1] = 'm'
  write[#write + 1] = meta(stream)
  call_with('HSET', write)
end
call_with('HDEL', gone)
redis.call('PEXPIRE', key, ARGV[5])
for _, message in ipairs(sent) do
  redis.call(publish, key, string.format('k%s %.0f ', stream.epoch, message[1]) .. message[2])
end
return { stream.epoch, unpack(offsets) }
