-- KEYS: the stream. ARGV: the epoch of a new stream; the server's replication id as the caller knows it; the bounds on
-- messages, bytes and milliseconds; the position to read from, its epoch (empty for none) and offset.
-- Returns the epoch, the newest offset, the floor, the reason for missing messages ('', 'epoch', 'trimmed'), the time, and
-- the entries behind the floor.
local stream = load(ARGV[1], ARGV[2])
local epoch, since = ARGV[6], tonumber(ARGV[7])
local gone = trim(stream, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), {})
if stream.changed then
  -- A server without memory can still be read, unless the stream is new: its epoch would not be stored.
  local written = redis.pcall('HSET', key, 'm', meta(stream))
  if type(written) == 'table' and written.err then
    if stream.epoch == ARGV[1] then return written end
    gone = {}
  end
end
call_with('HDEL', gone)
redis.call('PEXPIRE', key, ARGV[5])

local floor, missing = stream.floor, ''
if epoch ~= '' then
  -- A position behind the end does not belong to this stream, whatever its epoch: a client may have invented it.
  if epoch ~= stream.epoch or since > stream.last then
    missing = 'epoch'
  elseif since < stream.floor then
    missing = 'trimmed'
  else
    floor = since
  end
end

local answer = { stream.epoch, stream.last, floor, missing, now }
for first = floor + 1, stream.last, 500 do
  local offsets = {}
  for offset = first, math.min(first + 499, stream.last) do offsets[#offsets + 1] = offset end
  for _, entry in ipairs(redis.call('HMGET', key, unpack(offsets))) do answer[#answer + 1] = entry end
end
return answer
