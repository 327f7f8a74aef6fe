import Testing

@testable import Control

@Suite("Events")
struct EventBusTests {
  @Test("Every subscriber gets every event from its subscription on, numbered without gaps, and the end")
  func deliversInOrder() async throws {
    let bus = EventBus()
    bus.publish(.attached, interface: "eth0", "before anybody listens")
    let first = try #require(bus.subscribe())
    let second = try #require(bus.subscribe())
    for index in 0..<10 { bus.publish(.applied, interface: "eth0", "\(index)") }
    bus.finish()
    for stream in [first, second] {
      var events: [ControlEvent] = []
      for await event in stream { events.append(event) }
      #expect(events.map(\.sequence) == Array(2...11))
      #expect(events.map(\.message) == (0..<10).map(String.init))
    }
    #expect(bus.subscribe() == nil)
  }

  @Test("A subscriber that doesn't read holds up nobody and loses the oldest")
  func boundsSlowSubscribers() async throws {
    let bus = EventBus()
    let stream = try #require(bus.subscribe())
    let count = EventBus.bufferedEventsMax + 500
    for index in 0..<count { bus.publish(.applied, "\(index)") }
    bus.finish()
    var sequences: [UInt64] = []
    for await event in stream { sequences.append(event.sequence) }
    #expect(sequences.count == EventBus.bufferedEventsMax)
    #expect(sequences.last == UInt64(count))
  }

  @Test("Who comes later gets what is kept behind an event, then what happens; once each and in order")
  func keeps() async throws {
    let bus = EventBus()
    for index in 1...10 { bus.publish(.applied, "\(index)") }
    let stream = try #require(bus.subscribe(after: 7))
    bus.publish(.applied, "11")
    bus.finish()
    var sequences: [UInt64] = []
    for await event in stream { sequences.append(event.sequence) }
    #expect(sequences == [8, 9, 10, 11])
    #expect(bus.past(after: 0).count == 11 && bus.past(after: 11).isEmpty && bus.past(after: .max).isEmpty)
  }

  @Test("What is kept is bounded, in number and in length")
  func boundsRing() {
    let bus = EventBus()
    for _ in 0..<EventBus.ringMax + 10 {
      bus.publish(.refused, interface: String(repeating: "i", count: 5000), String(repeating: "m", count: 5000), fields: ["rule_set": String(repeating: "r", count: 5000)])
    }
    let kept = bus.past(after: 0)
    #expect(kept.count == EventBus.ringMax && kept.first?.sequence == 11)
    #expect(kept.allSatisfy { $0.message.count == 1024 && $0.interface.count == 1024 && $0.fields["rule_set"]?.count == 1024 })
  }

  @Test("More subscribers than the limit are refused; a place is free when one leaves")
  func boundsSubscribers() async throws {
    let bus = EventBus()
    var streams = (0..<EventBus.subscribersMax).map { _ in bus.subscribe() }
    #expect(streams.allSatisfy { $0 != nil })
    #expect(bus.subscribe() == nil)
    streams.removeLast()
    #expect(bus.subscribe() != nil)
  }
}
