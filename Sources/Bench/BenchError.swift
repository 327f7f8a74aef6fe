/// Why something could not be measured, in words for who asked.
public struct BenchError: Error, Hashable, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
