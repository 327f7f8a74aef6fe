extension FlowTable {
  /// Closes records that are over, spread in time: in a quarter of the shortest timeout the whole table is looked at
  /// once, in steps of 64 slots, at most `limit` steps a call. Call it once a batch, and now and then without packets.
  @inlinable
  public mutating func advance<Sink: FlowSink & ~Copyable>(now: UInt64, limit: Int, into sink: inout Sink) {
    let elapsed = min(FlowTable.age(of: advanced, now: now), sweepPeriod)
    let due = elapsed &* UInt64(truncatingIfNeeded: memory.wordCount) / sweepPeriod
    if due == 0 { return }
    advanced = now
    var left = min(Int(truncatingIfNeeded: due), limit)
    while left > 0, sink.room >= 64 {
      sweep(cursor, now: now, into: &sink)
      cursor = cursor &+ 1 == memory.wordCount ? 0 : cursor &+ 1
      left &-= 1
    }
  }

  /// Closes every record that is over now, while the sink has room. Bounded by the table, not by time.
  @inlinable
  public mutating func expireAll<Sink: FlowSink & ~Copyable>(now: UInt64, into sink: inout Sink) {
    var word = 0
    while word < memory.wordCount, sink.room >= 64 {
      sweep(word, now: now, into: &sink)
      word &+= 1
    }
  }

  /// Closes records whatever their age, at most `limit` steps of 64 slots, while the sink has room.
  ///
  /// - Returns: Whether the table is empty.
  @inlinable
  public mutating func flush<Sink: FlowSink & ~Copyable>(limit: Int = .max, into sink: inout Sink) -> Bool {
    var word = 0
    var left = limit
    while word < memory.wordCount, left > 0, activeCount > 0 {
      if memory.takenBits(word) != 0 {
        guard sink.room >= 64 else { return false }
        left &-= 1
        close(word, into: &sink) { _ in .forced }
      }
      word &+= 1
    }
    return activeCount == 0
  }

  /// Copies flows into a sink, their records going on, from `position` on; begin with 0.
  ///
  /// - Parameter limit: Steps of 64 slots.
  /// - Returns: Whether all were copied. A flow that moves meanwhile (closed and begun anew) may be there twice or not
  ///   at all; one that stays is there once.
  @inlinable
  public mutating func copy<Sink: FlowSink & ~Copyable>(
    from position: inout Int, limit: Int, into sink: inout Sink
  ) -> Bool {
    var left = limit
    while position < memory.wordCount {
      guard left > 0, sink.room >= 64 else { return false }
      var bits = memory.takenBits(position)
      while bits != 0 {
        sink.accept(memory[position << 6 | bits.trailingZeroBitCount].record(.running))
        bits &= bits &- 1
      }
      position &+= 1
      left &-= 1
    }
    return true
  }

  @inlinable @inline(__always)
  mutating func sweep<Sink: FlowSink & ~Copyable>(_ word: Int, now: UInt64, into sink: inout Sink) {
    let (active, idle, linger) = (active, idle, linger)
    close(word, into: &sink) { entry in
      let age = FlowTable.age(of: entry.firstNanoseconds, now: now)
      let quiet = age > entry.duration ? age &- entry.duration : 0
      return FlowTable.expiry(entry, age: age, quiet: quiet, active: active, idle: idle, linger: linger)
    }
  }

  /// Closes those of 64 slots for which `reason` is not ``FlowEndReason/running``.
  @inlinable @inline(__always)
  mutating func close<Sink: FlowSink & ~Copyable>(
    _ word: Int, into sink: inout Sink, _ reason: (borrowing FlowEntry) -> FlowEndReason
  ) {
    var bits = memory.takenBits(word)
    while bits != 0 {
      let index = word << 6 | bits.trailingZeroBitCount
      bits &= bits &- 1
      let why = reason(memory[index])
      if why == .running { continue }
      counts.exported &+= 1
      sink.accept(memory[index].record(why))
      memory.release(index)
    }
  }
}
