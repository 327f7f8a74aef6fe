extension [UInt64] {
  /// Of ascending values; 0 without any.
  func quantile(_ share: Double) -> Double {
    isEmpty ? 0 : Double(self[Swift.min(count - 1, Int(Double(count) * share))])
  }
}

extension [Double] {
  /// Of ascending values; 0 without any.
  var median: Double { isEmpty ? 0 : (self[(count - 1) / 2] + self[count / 2]) / 2 }
}
