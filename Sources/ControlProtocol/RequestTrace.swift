/// Which request something is done for, from program to program: the API's request id and W3C's trace context
/// (`traceparent`, `tracestate`). A task-local value: what logs or calls on behalf of the request finds it there.
public struct RequestTrace: Hashable, Sendable {
  /// As `X-Request-Id`; empty where there is none.
  public var requestID: String
  /// 32 lower-case hexadecimal digits, not all zero.
  public var traceID: String
  /// Of this program's part: 16 lower-case hexadecimal digits, not all zero.
  public var spanID: String
  /// Bit 0: the caller records the trace.
  public var flags: UInt8
  /// What other systems want to be passed on.
  public var state: String?

  @TaskLocal public static var current: RequestTrace?

  public static let parentHeader = "traceparent"
  public static let stateHeader = "tracestate"
  public static let requestHeader = "x-request-id"
  /// Bytes; a longer `tracestate` is dropped, as the standard allows.
  public static let stateByteCountMax = 512
  public static let requestIDByteCountMax = 64

  /// Goes on with the caller's trace where `parent` is a valid `traceparent`, else starts one. The span is a new one.
  public init(requestID: String, parent: String?, state: String?) {
    self.requestID = requestID
    spanID = Self.random(digits: 16)
    guard let parent = parent.flatMap(Self.parse) else {
      traceID = Self.random(digits: 32)
      flags = 0
      self.state = nil
      return
    }
    traceID = parent.traceID
    flags = parent.flags
    self.state = state.flatMap { text in
      (1...Self.stateByteCountMax).contains(text.utf8.count) && text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
        ? text : nil
    }
  }

  /// This program's part, as the next one's parent.
  public var parent: String {
    "00-\(traceID)-\(spanID)-\(flags < 16 ? "0" : "")\(String(flags, radix: 16))"
  }

  /// For log records.
  public var fields: [String: String] {
    requestID.isEmpty ? ["trace_id": traceID] : ["request_id": requestID, "trace_id": traceID]
  }

  /// Only what can stand in a log line and a header without any escaping.
  public static func isPlain(requestID id: String) -> Bool {
    (1...requestIDByteCountMax).contains(id.utf8.count)
      && id.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
          true
        default: false
        }
      }
  }

  /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; what a later version adds behind that is ignored.
  private static func parse(_ text: String) -> (traceID: String, flags: UInt8)? {
    guard text.utf8.count >= 55, text.utf8.count <= 128 else { return nil }
    let parts = text.split(separator: "-", maxSplits: 4, omittingEmptySubsequences: false)
    guard parts.count >= 4, isHexadecimal(parts[0], digits: 2), parts[0] != "ff", parts.count == 4 || parts[0] != "00",
      isHexadecimal(parts[1], digits: 32), parts[1].contains(where: { $0 != "0" }),
      isHexadecimal(parts[2], digits: 16), parts[2].contains(where: { $0 != "0" }),
      isHexadecimal(parts[3], digits: 2), let flags = UInt8(parts[3], radix: 16)
    else { return nil }
    return (String(parts[1]), flags & 1)
  }

  private static func isHexadecimal(_ text: Substring, digits: Int) -> Bool {
    text.utf8.count == digits && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  /// Of 64 bits at a time; never all zero.
  private static func random(digits: Int) -> String {
    (0..<digits / 16).map { _ in
      let text = String(UInt64.random(in: 1 ... .max), radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }.joined()
  }
}
