// Concrete instances of the ring operations, for Tests/Checks/arm64.sh to compile with the rings' own files for arm64
// and look at: one function per operation, so that each one's barrier can be seen.

@inline(never) public func consumerAvailable(_ ring: inout ConsumerRing<PacketDescriptor>) -> UInt32 {
  ring.available(limit: 64)
}

@inline(never) public func consumerRelease(_ ring: inout ConsumerRing<PacketDescriptor>) { ring.release(1) }

@inline(never) public func consumerOccupancy(_ ring: borrowing ConsumerRing<UInt64>) -> UInt32 { ring.occupancy }

@inline(never) public func producerRoom(_ ring: inout ProducerRing<UInt64>) -> UInt32 { ring.room(limit: 64) }

@inline(never) public func producerSubmit(_ ring: inout ProducerRing<PacketDescriptor>) { ring.submit(1) }

@inline(never) public func producerOccupancy(_ ring: borrowing ProducerRing<UInt64>) -> UInt32 { ring.occupancy }

@inline(never) public func fillFromPool(_ ring: inout ProducerRing<UInt64>, _ pool: inout FramePool) -> UInt32 {
  ring.fill(from: &pool)
}

@inline(never) public func drainToPool(_ ring: inout ConsumerRing<UInt64>, _ pool: inout FramePool) -> UInt32 {
  ring.drain(into: &pool, limit: 64)
}
