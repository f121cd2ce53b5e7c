extension ModelList { public static func ids(in body: [UInt8]) -> [String]? { nil } }
