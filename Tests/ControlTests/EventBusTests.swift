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
